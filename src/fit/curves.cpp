// Curves of a model, also stored as a table.
#include "ram/fit.h"
#include "ram/machine.h"
#include "ram/results.h"

namespace ram {

namespace {

CurvesRecord curves_record(const Checkpoint& checkpoint, const ModelCurves& curves) {
  // An unquantized unit loses nothing: its SQNR is 100 dB by the published definition.
  constexpr int kUnquantizedSqnr = 100;
  CurvesRecord record{.fingerprint = curves.fingerprint, .units = {}};
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    const UnitCurve& curve = curves.units[u];
    CurvesRecord::Unit row{.name = unit.name,
                           .role = std::string(role_name(unit.role)),
                           .tensors = std::ssize(unit.parts),
                           .weights = unit.weights(),
                           .points = {}};
    for (int f = 0; f < kFormatCount; ++f) {
      if ((curve.formats >> f & 1U) == 0) continue;
      const AffineFormat format = kAffineFormats[static_cast<size_t>(f)];
      row.points.push_back({.format = format_name(format),
                            .bytes = unit_bytes(checkpoint, unit, format, curves.dtype),
                            .nrmse = curve.nrmse(f, curves.encoder),
                            .sqnr_db = curve.sqnr_db(f),
                            .mse = curve.mse(f)});
    }
    row.points.push_back({.format = std::string(weight_dtype_name(curves.dtype)),
                          .bytes = unit_bytes(checkpoint, unit, {}, curves.dtype),
                          .nrmse = 0,
                          .sqnr_db = kUnquantizedSqnr,
                          .mse = 0});
    record.units.push_back(std::move(row));
  }
  return record;
}

}  // namespace

std::string curves_csv(const Checkpoint& checkpoint, const ModelCurves& curves) {
  return curves_record(checkpoint, curves).csv();
}

ModelCurves measure_curves(const Checkpoint& checkpoint, Study& study,
                           const AnalyzeOptions& options, AnalyzeStats* stats,
                           const ProgressFn& progress) {
  ModelCurves curves = analyze(checkpoint, study, options, progress, stats);
  // For reports, which read only the study.
  if (options.encoder == Encoder::kMlx) {
    study.put_document(curves_record(checkpoint, curves).document());
  }
  return curves;
}

Curves measure_curves_for(const Checkpoint& checkpoint, Study& study, Method method, DType dtype,
                          bool rehash, int threads, const ProgressFn& progress) {
  // A build usually follows a plan: a model that fits in memory is then read from disk only once.
  const bool past_cache = checkpoint.bytes() > physical_memory_bytes() / 2;
  const AnalyzeOptions options = {.encoder = Encoder::kMlx,
                                  .dtype = dtype,
                                  .threads = threads,
                                  .rehash = rehash,
                                  .past_cache = past_cache};
  Curves curves;
  curves.stored = measure_curves(checkpoint, study, options, &curves.stats, progress);
  if (planning_encoder(method) != Encoder::kSimulated) return curves;
  AnalyzeOptions simulated = options;
  simulated.encoder = Encoder::kSimulated;
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
