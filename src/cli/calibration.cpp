// Running the model before planning: see calibration.h.
#include "calibration.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/eval.h"
#include "ram/file.h"
#include "ram/hash.h"
#include "ram/number.h"
#include "ram/size.h"
#include "ram/tokenizer.h"

#include "engine_options.h"

namespace ram::cli {

namespace fs = std::filesystem;

namespace {

// Outside of these the coefficients do not add up to what the plan does.
constexpr double kAdditiveLow = 0.5;
constexpr double kAdditiveHigh = 2;

double parse_seconds(const std::string& text) {
  if (text.empty()) return 0;
  const size_t digits = std::min(text.find_first_not_of("0123456789."), text.size());
  const double value = parse_number(text.substr(0, digits)).value_or(0);
  const std::string unit = text.substr(digits);
  const double factor = unit == "s" ? 1 : unit == "min" ? 60 : unit == "h" ? 3600 : 0;
  if (factor == 0 || !(value > 0) || !std::isfinite(value * factor)) {
    fail(Code::kUsage, "--probe-time {}: use a time as 90s, 20min or 2h", text);
  }
  return value * factor;
}

/// Six significant digits, so that a plan is read and its length hardly changes.
double rounded(double value) {
  return parse_number(fmt::format("{:.5e}", value)).value();
}

std::vector<int32_t> joined(std::span<const TokenRow> rows) {
  std::vector<int32_t> ids;
  for (const TokenRow& row : rows) ids.insert(ids.end(), row.begin(), row.end());
  return ids;
}

CalibrationTextOptions text_options(const Common& common, const CalibrationArguments& arguments) {
  return {.rows = arguments.rows,
          .length = arguments.length,
          .seed = arguments.seed.value_or(common.seed),
          .random_start = arguments.random_start};
}

bool goes_in_turn(const CalibrationArguments& arguments, Encoder encoder) {
  return arguments.inputs == "compressed" && encoder == Encoder::kFeedback;
}

CalibrationText make_text(const Common& common, LanguageModel& model,
                          const std::string& fingerprint, const CalibrationArguments& arguments,
                          Study& study) {
  enter_stage(common, "write text");
  const CalibrationTextOptions options = text_options(common, arguments);
  const Tokenizer tokenizer = Tokenizer::open(model.checkpoint().folder);
  if (arguments.text == "own") {
    ProgressLine line(common);
    return own_text(model, tokenizer, fingerprint, options, study, line.function());
  }
  CalibrationText text =
      arguments.text == "random"
          ? random_text(std::min<int64_t>(tokenizer.id_end(), model.checkpoint().config.vocab),
                        options)
          : file_text(arguments.text, tokenizer, options);
  // So that nothing is scored on it later (refuse_overlap).
  study.put_calibration_text({.fingerprint = fingerprint,
                              .spec = text.spec,
                              .digest = text.digest,
                              .row_length = std::ssize(text.rows.front()),
                              .ids = joined(text.rows)});
  return text;
}

// Room for what is not compressed yet and for the folder that is written from it, less what an
// interrupted run has of both. What other plans have left counts as free: it goes as soon as its
// place is needed, at the latest before the folder is written.
void make_space(EncodedStore& store, const EncodedFolder& folder, const Plan& plan) {
  const int64_t missing = store.missing_bytes();
  const int64_t needed =
      store.bytes() + plan.weight_bytes - folder.bytes() - unfinished_bytes(folder.out());
  const int64_t room = free_bytes(folder.path());
  if (room < needed) {
    fail(Code::kWriteFailed,
         "{}: {} more needed, to compress and then to write the folder, and {} free: free {} and "
         "run the same command again, which goes on from here",
         folder.out().string(), format_enough_bytes(needed), format_bytes(room),
         format_enough_bytes(needed - room));
  }
  if (room < missing) store.remove_others();
}

/// The engine takes a checkpoint of its own, which must be the one that the fingerprint is of.
Checkpoint open_again(const Checkpoint& checkpoint) {
  Checkpoint again = Checkpoint::open(checkpoint.folder.string());
  checkpoint.check_unchanged();
  return again;
}

EngineOptions model_options(const Common& common, const CalibrationMemory& memory) {
  EngineOptions options = engine_options(common, "f32");
  options.memory_bytes = memory.model;
  return options;
}

}  // namespace

void add_calibration_options(Arguments app, CalibrationArguments& arguments) {
  const char* group = "Calibration (--method measured, --encoder search and feedback)";
  const auto option = [&](const char* name, auto& value, const char* type, const char* help) {
    app.add_option(name, value, help).type_name(type).group(group);
  };
  option("--calibration", arguments.text, "own|random|FILE",
         "text to run the model on (default own: it writes its own)");
  option("--calibration-rows", arguments.rows, "N", "rows of it (default 64)");
  option("--calibration-length", arguments.length, "N", "tokens of a row (default 256)");
  option("--probe-time", arguments.probe_time, "TIME",
         "what measuring coefficients may take, as 20min");
  option("--calibration-inputs", arguments.inputs, "compressed|original",
         "what --encoder feedback encodes a layer for: what the compressed layers before it make "
         "(default), or the original ones");
  app.add_flag("--random-start", arguments.random_start,
               "own text starts with a token drawn at random")
      .group(group);
}

void check_calibration(const CalibrationArguments& arguments) {
  if (arguments.rows < 2 || arguments.rows > 65536) {
    fail(Code::kUsage, "--calibration-rows {}: use 2 to 65536", arguments.rows);
  }
  if (arguments.length < 16 || arguments.length > 8192) {
    fail(Code::kUsage, "--calibration-length {}: use 16 to 8192 tokens", arguments.length);
  }
  parse_seconds(arguments.probe_time);
  if (arguments.inputs != "compressed" && arguments.inputs != "original") {
    fail(Code::kUsage, "--calibration-inputs {}: use compressed or original", arguments.inputs);
  }
  if (arguments.random_start && arguments.text != "own") {
    fail(Code::kUsage, "--random-start is for own text: leave --calibration {} out",
         arguments.text);
  }
  std::error_code ignored;
  const bool made = arguments.text == "own" || arguments.text == "random";
  if (!made && !fs::is_regular_file(arguments.text, ignored)) {
    fail(Code::kMissing, "--calibration {}: no such file; use own, random, or a text file",
         arguments.text);
  }
}

CalibrationMemory calibration_memory(const Common& common, const Checkpoint& checkpoint,
                                     const CalibrationArguments& arguments) {
  const EngineOptions options = engine_options(common, "f32");
  return share_memory(checkpoint, options.memory_bytes, options.threads, arguments.rows,
                      arguments.length);
}

void announce_calibration(const Common& common, const Checkpoint& checkpoint,
                          const CalibrationArguments& arguments, PlanRequest& request) {
  if (!needs_calibration(request)) return;
  check_text_size(common, "--calibration", arguments.text);
  const bool made = arguments.text == "own" || arguments.text == "random";
  const std::string source =
      made ? arguments.text : "file sha256 " + read_text(arguments.text).sha256;
  request.calibration = text_spec(source, checkpoint.config, text_options(common, arguments)) +
                        (goes_in_turn(arguments, request.encoder) ? " sequential" : "");
  if (request.method == Method::kMeasured) {
    request.probe_seconds = parse_seconds(arguments.probe_time);
  }
}

CalibrationArguments arguments_of(const Plan& plan, const std::string& file) {
  const auto origin = parse_calibration(plan.request.calibration);
  if (!origin) {
    fail(Code::kUsage,
         "the plan does not say what it was calibrated on, which encoder {} needs; make it again "
         "with `ram plan`",
         encoder_name(plan.encoder));
  }
  const int64_t rule = parse_calibration(text_spec("own", ModelConfig{}, {}))->rule;
  if (origin->source == "own" && origin->rule != rule) {
    fail(Code::kUsage,
         "the plan was calibrated on own text of rule {}, and this ram writes it by rule {}, "
         "another "
         "text: {}",
         origin->rule, rule,
         origin->rule < rule ? "make the plan again with `ram plan`" : "use a later ram");
  }
  if (origin->source == "file" && file.empty()) {
    fail(Code::kUsage, "the plan was calibrated on a text ({}): name it with --calibration FILE",
         plan.request.calibration);
  }
  return {.text = origin->source == "file" ? file : origin->source,
          .rows = origin->rows,
          .length = origin->length,
          .probe_time = {},
          .inputs = origin->sequential ? "compressed" : "original",
          .random_start = origin->random_start,
          .seed = origin->seed};
}

bool needs_calibration(const PlanRequest& request) {
  return request.method == Method::kMeasured || request.encoder == Encoder::kSearch ||
         request.encoder == Encoder::kFeedback;
}

Calibration::Calibration(const Common& common, const Checkpoint& checkpoint,
                         const std::string& fingerprint, const CalibrationArguments& arguments,
                         Study& study)
    : common_(common),
      checkpoint_(checkpoint),
      fingerprint_(fingerprint),
      study_(study),
      probe_seconds_(parse_seconds(arguments.probe_time)),
      sequential_(arguments.inputs == "compressed"),
      memory_(calibration_memory(common, checkpoint, arguments)),
      model_(open_again(checkpoint), model_options(common, memory_)),
      text_(make_text(common, model_, fingerprint, arguments, study)) {}

std::function<void(const ProbeForecast&)> Calibration::forecast_note() const {
  return [this](const ProbeForecast& forecast) {
    const bool more = probe_seconds_ > 0 && forecast.seconds > probe_seconds_;
    note(common_, fmt::format("measuring {} disturbances on {} rows of text, about {}{}",
                              forecast.variants, forecast.rows, format_seconds(forecast.seconds),
                              more ? ": more than --probe-time, but fewer rows say nothing" : ""));
  };
}

std::string Calibration::described(Encoder encoder) const {
  const bool in_turn = sequential_ && encoder == Encoder::kFeedback;
  return fmt::format("{}{} digest {}", text_.spec, in_turn ? " sequential" : "", text_.digest);
}

void Calibration::complete(const PlanInput& input, PlanRequest& request) {
  request.calibration = described(request.encoder);
  if (request.method != Method::kMeasured) return;
  request.probe_seconds = probe_seconds_;
  PlanRequest prior = request;
  prior.method = Method::kSquared;
  constexpr double kUsualBits = 4.5;
  if (!prior.budget_bytes && !prior.bits_per_weight) prior.bits_per_weight = kUsualBits;
  const PlanResult usual = make_plan(input, prior);
  if (!usual.plan) return;  // the caller says why
  std::vector<int> units;
  for (size_t u = 0; u < usual.plan->units.size(); ++u) {
    if (usual.plan->units[u].prior) units.push_back(static_cast<int>(u));
  }
  ProbeOptions options{
      .seconds = probe_seconds_, .memory_bytes = memory_.variants, .seed = common_.seed};
  options.forecast = forecast_note();
  enter_stage(common_, "measure coefficients");
  {
    ProgressLine line(common_);
    coefficients_ =
        measure_coefficients(model_, fingerprint_, units, text_, options, study_, line.function());
  }
  std::map<std::string, double> even;
  std::map<std::string, double> odd;
  for (const int unit : units) {
    const std::string& name = checkpoint_.units[static_cast<size_t>(unit)].name;
    const Coefficient& found = *coefficients_->units[static_cast<size_t>(unit)];
    request.coefficients[name] = rounded(found.value);
    even[name] = found.even;
    odd[name] = found.odd;
  }
  trusted_ = halves_agree(input, prior, *usual.plan, even, odd);
  if (trusted_) {
    if (request.encoder != Encoder::kFeedback) return;
    enter_stage(common_, "sample the encoder");
    ProgressLine line(common_);
    request.gains =
        measure_gains(model_, fingerprint_, units, text_,
                      compress_options(request.encoder, request.dtype), study_, line.function());
    return;
  }
  note(common_,
       "the coefficients are too noisy: plans of one half of the text are no better on the other "
       "than the priors' plan, which is used; give more text with --calibration-rows");
  request.method = Method::kSquared;
  request.coefficients.clear();
  request.probe_seconds = 0;  // it decided nothing
}

CompressOptions Calibration::compress_options(Encoder encoder, DType dtype) const {
  return {.encoder = encoder,
          .dtype = dtype,
          .sequential = sequential_,
          .memory_bytes = memory_.moments};
}

std::unique_ptr<EncodedStore> Calibration::compress(Plan& plan, EncodedFolder& folder) {
  enter_stage(common_, "compress");
  std::vector<UnitFormat> formats;
  formats.reserve(plan.units.size());
  for (const PlannedUnit& unit : plan.units) formats.push_back(unit.format);
  const CompressOptions options = compress_options(plan.encoder, plan.dtype);
  const bool in_turn = sequential_ && plan.encoder == Encoder::kFeedback;
  // What a layer's inputs are then depends on every format before it.
  std::string before;
  for (const PlannedUnit& unit : plan.units) {
    if (in_turn && unit.format) before += fmt::format("{} ", format_name(*unit.format));
  }
  auto store = std::make_unique<EncodedStore>(
      checkpoint_, formats, plan.dtype, folder,
      fmt::format("{} {} {} shrink {} damping {} {} rule 3 {}", fingerprint_, text_.digest,
                  encoder_name(plan.encoder), options.shrink_tokens, options.feedback.damping,
                  weight_dtype_name(plan.dtype), before));
  make_space(*store, folder, plan);
  {
    ProgressLine line(common_);
    compressed_ = compress_units(
        model_, formats, text_, options, [&](int unit) { return store->find(unit); },
        [&](const CompressedUnit& unit) { store->put(unit); }, line.function());
  }
  for (const CompressedUnit& unit : compressed_->units) {
    plan.units[static_cast<size_t>(unit.unit)].nrmse =
        unit.sum_squares > 0 ? std::sqrt(unit.squared_error / unit.sum_squares) : 0;
  }
  return store;
}

bool Calibration::adds_up(const Plan& plan) const {
  if (plan.method != Method::kMeasured || !compressed_) return true;
  const double predicted = predicted_kl(plan);
  if (predicted <= 0) return true;  // nothing is compressed, or nothing of it matters
  const double ratio = compressed_->kl / predicted;
  return ratio >= kAdditiveLow && ratio <= kAdditiveHigh;
}

void Calibration::measure_stored(const Plan& plan, const EncodedStore& store,
                                 PlanRequest& request) {
  std::vector<int> units;
  std::string formats;
  for (const CompressedUnit& unit : compressed_->units) {
    units.push_back(unit.unit);
    const AffineFormat format = *plan.units[static_cast<size_t>(unit.unit)].format;
    formats += fmt::format("{} ", format_name(format));
  }
  ProbeOptions options{.relative_noise = 1,
                       .seeds = 1,
                       .most_seeds = 1,
                       .first_rows = std::ssize(text_.rows),
                       .seconds = probe_left(),
                       .memory_bytes = memory_.variants,
                       .seed = common_.seed};
  options.values = [&](int unit) {
    std::optional<CompressedUnit> stored = store.find(unit);
    RAM_CHECK(stored.has_value());
    return decoded_rows(checkpoint_, std::move(*stored),
                        *plan.units[static_cast<size_t>(unit)].format, plan.dtype);
  };
  options.disturbance = fmt::format("stored 3 {}{} {} {}", encoder_name(plan.encoder),
                                    sequential_ ? " sequential" : "", weight_dtype_name(plan.dtype),
                                    hash_text(formats));
  options.forecast = forecast_note();
  ProgressLine line(common_);
  const Coefficients found =
      measure_coefficients(model_, fingerprint_, units, text_, options, study_, line.function());
  for (const CompressedUnit& unit : compressed_->units) {
    const double kl = found.units[static_cast<size_t>(unit.unit)]->value;
    const std::string& name = plan.units[static_cast<size_t>(unit.unit)].name;
    if (unit.output_error > 0 && kl > 0) {
      request.coefficients[name] = rounded(kl / unit.output_error);
    }
  }
}

double Calibration::probe_left() const {
  if (probe_seconds_ <= 0) return 0;
  constexpr double kLeast = 1e-3;  // 0 would be no bound
  return std::max(kLeast, probe_seconds_ - (coefficients_ ? coefficients_->seconds : 0));
}

double Calibration::predicted_kl(const Plan& plan) const {
  double kl = 0;
  for (const CompressedUnit& unit : compressed_->units) {
    const auto& name = plan.units[static_cast<size_t>(unit.unit)].name;
    const auto found = plan.request.coefficients.find(name);
    if (found != plan.request.coefficients.end()) kl += found->second * unit.output_error;
  }
  return kl;
}

}  // namespace ram::cli
