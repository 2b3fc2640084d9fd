// ram analyze: measures curves into the study, and exports them as CSV.
#include <fmt/format.h>

#include "ram/file.h"
#include "ram/machine.h"
#include "ram/mlx_layout.h"
#include "ram/outputs.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/text.h"
#include "ram/what_if.h"

#include "commands.h"
#include "engine_options.h"
#include "model.h"
#include "planning.h"

namespace ram::cli {
namespace {

struct AnalyzeArguments {
  std::string model;
  std::string csv;
  std::string encoder = "mlx";
  std::string dtype;
  bool rehash = false;
};

int64_t count_quantizable(const ModelCurves& curves) {
  int64_t count = 0;
  for (const UnitCurve& curve : curves.units) count += curve.formats != 0 ? 1 : 0;
  return count;
}

void print_summary(const Common& common, const Checkpoint& checkpoint, const ModelCurves& curves,
                   const AnalyzeStats& stats, std::optional<int64_t> min_safe) {
  const double rate = stats.seconds > 0 ? static_cast<double>(stats.bytes_read) / stats.seconds : 0;
  if (common.json) {
    const Json document = {{"model", checkpoint.name},
                           {"model_type", checkpoint.model_type},
                           {"fingerprint", curves.fingerprint},
                           {"study", common.study},
                           {"encoder", encoder_name(curves.encoder)},
                           {"dtype", weight_dtype_name(curves.dtype)},
                           {"units", checkpoint.units.size()},
                           {"units_with_curves", count_quantizable(curves)},
                           {"weights", checkpoint.weights()},
                           {"bytes", checkpoint.bytes()},
                           {"min_safe_bytes", min_safe ? Json(*min_safe) : Json(nullptr)},
                           {"tensors_measured", stats.tensors_measured},
                           {"tensors_known", stats.tensors_known},
                           {"bytes_read", stats.bytes_read},
                           {"seconds", stats.seconds},
                           {"bytes_per_second", rate},
                           {"peak_resident_bytes", peak_resident_bytes()}};
    print_document(common, document);
    return;
  }
  std::string text = fmt::format("{}: {} units, {} of them with curves ({}, {})\n", checkpoint.name,
                                 checkpoint.units.size(), count_quantizable(curves),
                                 encoder_name(curves.encoder), weight_dtype_name(curves.dtype));
  text +=
      fmt::format("{} tensors measured, {} known; {} read in {} ({:.2f} GB/s), peak memory {}\n",
                  stats.tensors_measured, stats.tensors_known, format_bytes(stats.bytes_read),
                  format_seconds(stats.seconds), rate / 1e9, format_bytes(peak_resident_bytes()));
  if (min_safe) {
    text +=
        fmt::format("smallest safe folder: {} bytes ({})\n", *min_safe, format_bytes(*min_safe));
  }
  print_result(common, text);
}

int analyze_command(const Common& common, const AnalyzeArguments& options) {
  const Encoder encoder = parse_encoder_option(options.encoder);
  const std::optional<DType> dtype = parse_dtype_option(options.dtype);
  const int workers = threads(common);
  const Checkpoint checkpoint = open_source(common, options.model);
  Study study = open_study(common, fmt::format("analyze --encoder {}", encoder_name(encoder)));
  AnalyzeStats stats;
  ProgressLine line(common);
  const ModelCurves curves = measure_curves(checkpoint, study,
                                            {.encoder = encoder,
                                             .dtype = dtype.value_or(checkpoint.default_dtype()),
                                             .threads = workers,
                                             .rehash = options.rehash,
                                             .past_cache = true},
                                            &stats);
  if (!options.csv.empty()) write_output(common, options.csv, curves_csv(checkpoint, curves));
  if (options.csv == "-") return kDone;
  std::optional<int64_t> min_safe;
  if (encoder == Encoder::kMlx) min_safe = default_min_safe_bytes(checkpoint, curves);
  print_summary(common, checkpoint, curves, stats, min_safe);
  return kDone;
}

}  // namespace

Action setup_analyze(Arguments app, const Common& common) {
  auto options = std::make_shared<AnalyzeArguments>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  app.add_option("--csv", options->csv, "all curves as a table; - is stdout")
      .type_name("FILE")
      .writes(Content::kCurves);
  app.add_option("--encoder", options->encoder, "mlx: as stored (default); reference: as published")
      .type_name("mlx|reference");
  app.add_option("--dtype", options->dtype, "of scales, biases and unquantized tensors")
      .type_name("bf16|f16|f32");
  app.add_flag("--rehash", options->rehash, "read every tensor again");
  return [options, &common] { return analyze_command(common, *options); };
}

}  // namespace ram::cli
