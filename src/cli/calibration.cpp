// The options of calibration, and its events on stderr.
#include "calibration.h"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/number.h"

#include "engine_options.h"

namespace ram::cli {

namespace fs = std::filesystem;

double parse_time(const std::string& option, const std::string& text) {
  if (text.empty()) return 0;
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const double value = parse_number(text.substr(0, digits)).value_or(0);
  const std::string unit = text.substr(digits);
  const double factor = unit == "s" ? 1 : unit == "min" ? 60 : unit == "h" ? 3600 : 0;
  if (factor == 0 || !(value > 0) || !std::isfinite(value * factor)) {
    fail(Code::kUsage, "{} {}: use a time such as 90s, 20min or 2h", option, text);
  }
  return value * factor;
}

void add_calibration_options(Arguments app, CalibrationArguments& arguments) {
  const char* group = "Calibration (--method measured, --encoder search and feedback)";
  const auto option = [&](const char* name, auto& value, const char* type, const char* help) {
    app.add_option(name, value, help).type_name(type).group(group);
  };
  option("--calibration", arguments.text, "own|random|FILE",
         "text to run the model on (default own: the model writes it)");
  option("--calibration-rows", arguments.rows, "N", "rows of the text (default 64)");
  option("--calibration-length", arguments.length, "N", "tokens per row (default 256)");
  option("--coefficients", arguments.coefficients, "gradient|noise|auto",
         "how --method measured measures them: all at once, by gradients (auto, the default), or "
         "each unit by disturbing it");
  option("--probe-time", arguments.probe_time, "TIME",
         "time limit for measuring coefficients, such as 20min");
  option("--calibration-inputs", arguments.inputs, "compressed|original",
         "inputs that --encoder feedback encodes a layer for: from the compressed layers before it "
         "(default), or from the original ones");
  app.add_flag("--random-start", arguments.random_start,
               "own text starts with a token drawn at random")
      .group(group);
}

CalibrationRequest calibration_request(const Common& common,
                                       const CalibrationArguments& arguments) {
  const int64_t rows = arguments.rows.value_or(CalibrationTextOptions().rows);
  if (rows < 2 || rows > 65536) {
    fail(Code::kUsage, "--calibration-rows {}: use 2 to 65536", rows);
  }
  if (arguments.length < 16 || arguments.length > 8192) {
    fail(Code::kUsage, "--calibration-length {}: use 16 to 8192 tokens", arguments.length);
  }
  const double probe_seconds = parse_time("--probe-time", arguments.probe_time);
  const bool automatic = arguments.coefficients == "auto";
  const auto source =
      automatic ? CoefficientSource::kGradient : parse_coefficient_source(arguments.coefficients);
  if (!source) {
    fail(Code::kUsage, "--coefficients {}: use gradient, noise or auto", arguments.coefficients);
  }
  if (*source == CoefficientSource::kGradient && probe_seconds > 0) {
    fail(Code::kUsage, "--probe-time {}: for --coefficients noise only", arguments.probe_time);
  }
  if (arguments.inputs != "compressed" && arguments.inputs != "original") {
    fail(Code::kUsage, "--calibration-inputs {}: use compressed or original", arguments.inputs);
  }
  if (arguments.random_start && arguments.text != "own") {
    fail(Code::kUsage, "--random-start is for own text: omit --calibration {}", arguments.text);
  }
  std::error_code ignored;
  const bool made = arguments.text == "own" || arguments.text == "random";
  if (!made && !fs::is_regular_file(arguments.text, ignored)) {
    fail(Code::kMissing, "--calibration {}: no such file; use own, random, or a text file",
         arguments.text);
  }
  return {.text = arguments.text,
          .rows = {.rows = rows,
                   .length = arguments.length,
                   .seed = common.seed,
                   .random_start = arguments.random_start},
          .probe_seconds = probe_seconds,
          .coefficients = *source,
          .sequential = arguments.inputs == "compressed"};
}

void check_calibration(const Common& common, const Checkpoint& checkpoint,
                       const CalibrationRequest& calibration, const PlanRequest& request,
                       const FitResources& resources) {
  if (!needs_calibration(request)) return;
  if (calibration.file()) check_text_size(common, "--calibration", calibration.text);
  check_calibration_inputs(checkpoint, resources.engine, calibration, request);
}

FitResources fit_resources(const Common& common, bool runs_model) {
  FitResources resources{.threads = threads(common), .engine = {}};
  if (runs_model) resources.engine = engine_options(common, "f32");
  return resources;
}

Reporter::Reporter(const Common& common) : common_(common), line_(common) {
  events_.progress = line_.function();
  events_.stage = [this](std::string_view stage) {
    line_.clear();
    enter_stage(common_, stage);
  };
  events_.note = [this](const std::string& text) {
    line_.clear();
    note(common_, text);
  };
}

FitEvents notes_only(const Common& common) {
  FitEvents events;
  events.note = [&common](const std::string& text) { note(common, text); };
  return events;
}

}  // namespace ram::cli
