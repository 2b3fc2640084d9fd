// Curves of a model, kept as a table too.
#include <fmt/format.h>

#include "ram/csv.h"
#include "ram/fit.h"
#include "ram/machine.h"

namespace ram {

std::string curves_csv(const Checkpoint& checkpoint, const ModelCurves& curves) {
  // What stays as it is loses nothing: SQNR is then 100 dB by the published definition.
  constexpr int kUnquantizedSqnr = 100;
  std::string text = "unit,role,tensors,weights,format,bytes,nrmse,sqnr_db,mse\n";
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    const UnitCurve& curve = curves.units[u];
    const std::string start = fmt::format("{},{},{},{}", csv_field(unit.name), role_name(unit.role),
                                          unit.parts.size(), unit.weights());
    for (int f = 0; f < kFormatCount; ++f) {
      if ((curve.formats >> f & 1U) == 0) continue;
      const AffineFormat format = kAffineFormats[static_cast<size_t>(f)];
      text += fmt::format("{},{},{},{},{},{}\n", start, format_name(format),
                          unit_bytes(checkpoint, unit, format, curves.dtype),
                          curve.nrmse(f, curves.encoder), curve.sqnr_db(f), curve.mse(f));
    }
    text += fmt::format("{},{},{},0,{},0\n", start, weight_dtype_name(curves.dtype),
                        unit_bytes(checkpoint, unit, {}, curves.dtype), kUnquantizedSqnr);
  }
  return text;
}

ModelCurves measure_curves(const Checkpoint& checkpoint, Study& study,
                           const AnalyzeOptions& options, AnalyzeStats* stats,
                           const ProgressFn& progress) {
  ModelCurves curves = analyze(checkpoint, study, options, progress, stats);
  // For reports, which have the study alone.
  if (options.encoder == Encoder::kMlx) {
    study.put_document(
        {.kind = "curves", .key = curves.fingerprint, .text = curves_csv(checkpoint, curves)});
  }
  return curves;
}

Curves measure_curves_for(const Checkpoint& checkpoint, Study& study, Method method, DType dtype,
                          bool rehash, int threads, const ProgressFn& progress) {
  // Who plans builds next: a model that memory can hold is read from the disk once.
  const bool past_cache = checkpoint.bytes() > physical_memory_bytes() / 2;
  const AnalyzeOptions options = {.encoder = Encoder::kMlx,
                                  .dtype = dtype,
                                  .threads = threads,
                                  .rehash = rehash,
                                  .past_cache = past_cache};
  Curves curves;
  curves.stored = measure_curves(checkpoint, study, options, &curves.stats, progress);
  if (planning_encoder(method) != Encoder::kReference) return curves;
  AnalyzeOptions simulated = options;
  simulated.encoder = Encoder::kReference;
  simulated.rehash = false;
  AnalyzeStats stats;
  curves.simulated = measure_curves(checkpoint, study, simulated, &stats, progress);
  curves.stats.tensors_measured += stats.tensors_measured;
  curves.stats.tensors_known += stats.tensors_known;
  curves.stats.bytes_read += stats.bytes_read;
  curves.stats.seconds += stats.seconds;
  return curves;
}

}  // namespace ram
