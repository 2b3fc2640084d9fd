// Running the model before planning: its text, the coefficients, and the compressed units.
#include <algorithm>
#include <cmath>
#include <map>
#include <utility>

#include <fmt/format.h>

#include "ram/calibration_table.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/file.h"
#include "ram/fit.h"
#include "ram/hash.h"
#include "ram/number.h"
#include "ram/size.h"
#include "ram/text.h"
#include "ram/tokenizer.h"

#include "events.h"
#include "places.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

// Outside these bounds the coefficients do not add up to the plan's divergence.
constexpr double kAdditiveLow = 0.5;
constexpr double kAdditiveHigh = 2;

/// Six significant digits: plans stay readable and their length hardly changes.
double rounded(double value) {
  return parse_number(fmt::format("{:.5e}", value)).value();
}

std::vector<int32_t> joined(std::span<const TokenRow> rows) {
  std::vector<int32_t> ids;
  for (const TokenRow& row : rows) ids.insert(ids.end(), row.begin(), row.end());
  return ids;
}

bool goes_in_turn(const CalibrationRequest& calibration, Encoder encoder) {
  return calibration.sequential && encoder == Encoder::kFeedback;
}

/// @return one more than the largest id that random text draws. If there is a tokenizer, padding
///         rows of the embedding are excluded; without one, all ids are used.
int64_t known_ids(const Checkpoint& checkpoint, const FitEvents& events) {
  const int64_t all = checkpoint.config.vocab;
  std::error_code error;
  const fs::file_status file = fs::status(checkpoint.folder / "tokenizer.json", error);
  if (file.type() == fs::file_type::not_found) return all;
  try {
    return std::min<int64_t>(Tokenizer::open(checkpoint.folder).id_end(), all);
  } catch (const Error& unusable) {
    note(events, fmt::format("random text is drawn from all {} ids of the model: {}", all,
                             unusable.what()));
    return all;
  }
}

CalibrationText make_text(LanguageModel& model, const std::string& fingerprint,
                          const CalibrationRequest& calibration, Study& study,
                          const FitEvents& events) {
  enter_stage(events, "write text");
  const CalibrationTextOptions& options = calibration.rows;
  const fs::path& folder = model.checkpoint().folder;
  if (calibration.own()) {
    return own_text(model, Tokenizer::open(folder), fingerprint, options, study, events.progress);
  }
  CalibrationText text = calibration.file()
                             ? file_text(calibration.text, Tokenizer::open(folder), options)
                             : random_text(known_ids(model.checkpoint(), events), options);
  // So that no command scores on it later (refuse_overlap).
  CalibrationTextTable(study).put({.fingerprint = fingerprint,
                                   .spec = text.spec,
                                   .digest = text.digest,
                                   .row_length = std::ssize(text.rows.front()),
                                   .ids = joined(text.rows)});
  return text;
}

// Space for the units that are not compressed yet and for the folder, minus what an interrupted run
// left of both. Units left by other plans count as free: they are removed when their space is
// needed, at the latest before the folder is written.
void make_space(EncodedStore& store, const EncodedFolder& folder, const Plan& plan) {
  const int64_t missing = store.missing_bytes();
  const int64_t needed =
      store.bytes() + plan.weight_bytes - folder.bytes() - unfinished_bytes(folder.out());
  const int64_t room = free_bytes(folder.path());
  if (room < needed) {
    fail(Code::kWriteFailed,
         "{}: {} more needed, to compress and then to write the folder, but only {} free: free {} "
         "and run the same command again, which continues from here",
         folder.out().string(), format_enough_bytes(needed), format_bytes(room),
         format_enough_bytes(needed - room));
  }
  if (room < missing) store.remove_others();
}

/// Opens a second checkpoint for the engine, and checks that it matches the fingerprint.
Checkpoint open_again(const Checkpoint& checkpoint) {
  Checkpoint again = Checkpoint::open(checkpoint.folder.string());
  checkpoint.check_unchanged();
  return again;
}

EngineOptions with_memory(EngineOptions options, const CalibrationMemory& memory) {
  options.memory_bytes = memory.model;
  return options;
}

}  // namespace

CalibrationMemory calibration_memory(const Checkpoint& checkpoint, const EngineOptions& engine,
                                     const CalibrationRequest& calibration) {
  return share_memory(checkpoint, engine.memory_bytes, engine.threads, calibration.rows.rows,
                      calibration.rows.length);
}

void check_calibration_inputs(const Checkpoint& checkpoint, const EngineOptions& engine,
                              const CalibrationRequest& calibration, const PlanRequest& request) {
  if (!needs_calibration(request)) return;
  calibration_memory(checkpoint, engine, calibration);
  need_files_for(0, std::ssize(checkpoint.files), kStudyFiles);
  // If the model fits unquantized, it is most likely not run.
  if (calibration.text == "random" || has_room_for_all(checkpoint, request)) return;
  const Tokenizer tokenizer = Tokenizer::open(checkpoint.folder);
  if (calibration.own()) text_beginning(tokenizer, checkpoint.config);
}

void announce_calibration(const Checkpoint& checkpoint, const CalibrationRequest& calibration,
                          PlanRequest& request) {
  if (!needs_calibration(request)) return;
  const std::string source =
      calibration.file() ? "file sha256 " + read_text(calibration.text).sha256 : calibration.text;
  request.calibration = text_spec(source, checkpoint.config, calibration.rows) +
                        (goes_in_turn(calibration, request.encoder) ? " sequential" : "");
  if (request.method == Method::kMeasured) {
    request.probe_seconds = calibration.probe_seconds;
    request.coefficient_source = calibration.coefficients;
  }
}

CalibrationRequest calibration_of(const Plan& plan, const std::string& file) {
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
         "the plan was calibrated on own text of rule {}, but this ram writes other text, by rule "
         "{}: {}",
         origin->rule, rule,
         origin->rule < rule ? "make the plan again with `ram plan`" : "use a later ram");
  }
  if (origin->source == "file" && file.empty()) {
    fail(Code::kUsage, "the plan was calibrated on a text ({}): name it with --calibration FILE",
         plan.request.calibration);
  }
  return {.text = origin->source == "file" ? file : origin->source,
          .rows = {.rows = origin->rows,
                   .length = origin->length,
                   .seed = origin->seed,
                   .random_start = origin->random_start},
          .sequential = origin->sequential};
}

bool needs_calibration(const PlanRequest& request) {
  return request.method == Method::kMeasured || request.encoder == Encoder::kSearch ||
         request.encoder == Encoder::kFeedback;
}

struct Calibration::State {
  State(const Checkpoint& of, std::string print, const CalibrationRequest& calibration,
        const EngineOptions& engine, Study& kept, const FitEvents& told)
      : events(told),
        checkpoint(of),
        fingerprint(std::move(print)),
        study(kept),
        seed(calibration.rows.seed),
        probe_seconds(calibration.probe_seconds),
        source(calibration.coefficients),
        sequential(calibration.sequential),
        memory(calibration_memory(of, engine, calibration)),
        model(open_again(of), with_memory(engine, memory)),
        text(make_text(model, fingerprint, calibration, kept, told)) {}

  void complete(const PlanInput& input, PlanRequest& request);
  std::string described(Encoder encoder) const;
  std::unique_ptr<EncodedStore> compress(Plan& plan, EncodedFolder& folder);
  bool adds_up(const Plan& plan) const;
  void measure_stored(const Plan& plan, const EncodedStore& store, PlanRequest& request);
  double predicted_kl(const Plan& plan) const;
  /// The rest of probe_seconds after the first coefficients; 0: no limit.
  double probe_left() const;
  CompressOptions compress_options(Encoder encoder, DType dtype) const;
  /// Reports the expected time of probing.
  std::function<void(const ProbeForecast&)> forecast_note() const;

  const FitEvents& events;
  const Checkpoint& checkpoint;
  std::string fingerprint;
  Study& study;
  uint64_t seed = 0;
  double probe_seconds = 0;
  CoefficientSource source = CoefficientSource::kNoise;
  bool sequential = false;
  CalibrationMemory memory;
  LanguageModel model;
  CalibrationText text;
  std::optional<Coefficients> coefficients;
  std::optional<CompressResult> compressed;
  bool trusted = false;
};

std::function<void(const ProbeForecast&)> Calibration::State::forecast_note() const {
  return [this](const ProbeForecast& forecast) {
    const bool more = probe_seconds > 0 && forecast.seconds > probe_seconds;
    note(events,
         fmt::format("measuring {} disturbances on {} rows of text, about {}{}", forecast.variants,
                     forecast.rows, format_seconds(forecast.seconds),
                     more ? ": more than --probe-time, but fewer rows would be meaningless" : ""));
  };
}

std::string Calibration::State::described(Encoder encoder) const {
  const bool in_turn = sequential && encoder == Encoder::kFeedback;
  return fmt::format("{}{} digest {}", text.spec, in_turn ? " sequential" : "", text.digest);
}

void Calibration::State::complete(const PlanInput& input, PlanRequest& request) {
  request.calibration = described(request.encoder);
  if (request.method != Method::kMeasured) return;
  request.probe_seconds = probe_seconds;
  request.coefficient_source = source;
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
  enter_stage(events, "measure coefficients");
  if (source == CoefficientSource::kGradient) {
    coefficients = gradient_coefficients(model, fingerprint, units, text,
                                         {.memory_bytes = memory.variants, .seed = seed}, study,
                                         events.progress);
  } else {
    ProbeOptions options{.seconds = probe_seconds, .memory_bytes = memory.variants, .seed = seed};
    options.forecast = forecast_note();
    coefficients =
        measure_coefficients(model, fingerprint, units, text, options, study, events.progress);
  }
  std::map<std::string, double> even;
  std::map<std::string, double> odd;
  for (const int unit : units) {
    const std::string& name = checkpoint.units[static_cast<size_t>(unit)].name;
    const Coefficient& found = *coefficients->units[static_cast<size_t>(unit)];
    request.coefficients[name] = rounded(found.value);
    even[name] = found.even;
    odd[name] = found.odd;
  }
  trusted = halves_agree(input, prior, *usual.plan, even, odd);
  if (trusted) {
    if (request.encoder != Encoder::kFeedback) return;
    enter_stage(events, "sample the encoder");
    request.gains =
        measure_gains(model, fingerprint, units, text,
                      compress_options(request.encoder, request.dtype), study, events.progress);
    return;
  }
  note(events,
       "the coefficients are too noisy: plans made on one half of the text are no better on the "
       "other half than the priors' plan, which is used instead; give more text with "
       "--calibration-rows");
  request = by_priors(request);
  // Rounded plainly, it is made again by measuring again.
  if (request.encoder == Encoder::kMlx) request.coefficient_source = source;
}

CompressOptions Calibration::State::compress_options(Encoder encoder, DType dtype) const {
  return {
      .encoder = encoder, .dtype = dtype, .sequential = sequential, .memory_bytes = memory.moments};
}

std::unique_ptr<EncodedStore> Calibration::State::compress(Plan& plan, EncodedFolder& folder) {
  enter_stage(events, "compress");
  std::vector<UnitFormat> formats;
  formats.reserve(plan.units.size());
  for (const PlannedUnit& unit : plan.units) formats.push_back(unit.format);
  const CompressOptions options = compress_options(plan.encoder, plan.dtype);
  const bool in_turn = sequential && plan.encoder == Encoder::kFeedback;
  // A layer's inputs then depend on every format before it.
  std::string before;
  for (const PlannedUnit& unit : plan.units) {
    if (in_turn && unit.format) before += fmt::format("{} ", format_name(*unit.format));
  }
  auto store = std::make_unique<EncodedStore>(
      checkpoint, formats, plan.dtype, folder,
      fmt::format("{} {} {} shrink {} damping {} {} rule 4 {}", fingerprint, text.digest,
                  encoder_name(plan.encoder), options.shrink_tokens, options.feedback.damping,
                  weight_dtype_name(plan.dtype), before));
  make_space(*store, folder, plan);
  compressed = compress_units(
      model, formats, text, options, [&](int unit) { return store->find(unit); },
      [&](const CompressedUnit& unit) { store->put(unit); }, events.progress);
  for (const CompressedUnit& unit : compressed->units) {
    plan.units[static_cast<size_t>(unit.unit)].nrmse =
        unit.sum_squares > 0 ? std::sqrt(unit.squared_error / unit.sum_squares) : 0;
  }
  return store;
}

bool Calibration::State::adds_up(const Plan& plan) const {
  if (plan.method != Method::kMeasured || !compressed) return true;
  const double predicted = predicted_kl(plan);
  if (predicted <= 0) return true;  // nothing is compressed, or it has no effect
  const double ratio = compressed->kl / predicted;
  return ratio >= kAdditiveLow && ratio <= kAdditiveHigh;
}

void Calibration::State::measure_stored(const Plan& plan, const EncodedStore& store,
                                        PlanRequest& request) {
  std::vector<int> units;
  std::string formats;
  for (const CompressedUnit& unit : compressed->units) {
    units.push_back(unit.unit);
    const AffineFormat format = *plan.units[static_cast<size_t>(unit.unit)].format;
    formats += fmt::format("{} ", format_name(format));
  }
  ProbeOptions options{.relative_noise = 1,
                       .seeds = 1,
                       .most_seeds = 1,
                       .first_rows = std::ssize(text.rows),
                       .seconds = probe_left(),
                       .memory_bytes = memory.variants,
                       .seed = seed};
  options.values = [&](int unit) {
    std::optional<CompressedUnit> stored = store.find(unit);
    RAM_CHECK(stored.has_value());
    return decoded_rows(checkpoint, std::move(*stored),
                        *plan.units[static_cast<size_t>(unit)].format, plan.dtype);
  };
  options.disturbance = fmt::format("stored 3 {}{} {} {}", encoder_name(plan.encoder),
                                    sequential ? " sequential" : "", weight_dtype_name(plan.dtype),
                                    hash_text(formats));
  options.forecast = forecast_note();
  const Coefficients found =
      measure_coefficients(model, fingerprint, units, text, options, study, events.progress);
  for (const CompressedUnit& unit : compressed->units) {
    const double kl = found.units[static_cast<size_t>(unit.unit)]->value;
    const std::string& name = plan.units[static_cast<size_t>(unit.unit)].name;
    if (unit.output_error > 0 && kl > 0) {
      request.coefficients[name] = rounded(kl / unit.output_error);
    }
  }
}

double Calibration::State::probe_left() const {
  if (probe_seconds <= 0) return 0;
  constexpr double kLeast = 1e-3;  // 0 would mean no limit
  return std::max(kLeast, probe_seconds - (coefficients ? coefficients->seconds : 0));
}

double Calibration::State::predicted_kl(const Plan& plan) const {
  double kl = 0;
  for (const CompressedUnit& unit : compressed->units) {
    const auto& name = plan.units[static_cast<size_t>(unit.unit)].name;
    const auto found = plan.request.coefficients.find(name);
    if (found != plan.request.coefficients.end()) kl += found->second * unit.output_error;
  }
  return kl;
}

Calibration::Calibration(const Checkpoint& checkpoint, const std::string& fingerprint,
                         const CalibrationRequest& calibration, const EngineOptions& engine,
                         Study& study, const FitEvents& events)
    : state_(std::make_unique<State>(checkpoint, fingerprint, calibration, engine, study, events)) {
}

Calibration::~Calibration() = default;

void Calibration::complete(const PlanInput& input, PlanRequest& request) {
  state_->complete(input, request);
}

std::string Calibration::described(Encoder encoder) const {
  return state_->described(encoder);
}

std::unique_ptr<EncodedStore> Calibration::compress(Plan& plan, EncodedFolder& folder) {
  return state_->compress(plan, folder);
}

bool Calibration::adds_up(const Plan& plan) const {
  return state_->adds_up(plan);
}

void Calibration::measure_stored(const Plan& plan, const EncodedStore& store,
                                 PlanRequest& request) {
  state_->measure_stored(plan, store, request);
}

const CalibrationText& Calibration::text() const {
  return state_->text;
}

const std::optional<CompressResult>& Calibration::compressed() const {
  return state_->compressed;
}

CalibrationFindings Calibration::findings(const Plan& plan) const {
  return {.text = state_->text,
          .coefficients = state_->coefficients,
          .source = state_->source,
          .trusted = state_->trusted,
          .compressed = state_->compressed,
          .predicted_kl = state_->compressed ? state_->predicted_kl(plan) : 0,
          .adds_up = state_->adds_up(plan)};
}

}  // namespace ram
