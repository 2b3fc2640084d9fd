// Which steps a fit takes within a time: the best that fit, by their forecasts.
#include <array>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/fit.h"
#include "ram/text.h"

#include "places.h"

namespace ram {
namespace {

/// A way to fit a model.
struct Steps {
  Method method;
  Encoder encoder;
  const char* text;  // of the calibration
  int64_t rows;      // of the text, unless given
  int passes;        // of the text, at least
  const char* gives;
};

// The best first. Random ids stand in where the model cannot write text, and say too little about
// a matrix's inputs for feedback.
constexpr std::array kWays = {
    Steps{Method::kMeasured, Encoder::kFeedback, "own", 32, 12, "error feedback"},
    Steps{Method::kMeasured, Encoder::kMlx, "own", 16, 3, "coefficients measured on own text"},
    Steps{Method::kMeasured, Encoder::kMlx, "random", 16, 2, "coefficients measured on own text"},
};

/// Less than a number of passes over a text takes on any processor. A forecast of a large model
/// takes minutes by itself.
double least_seconds(const Checkpoint& checkpoint, const FitRequest& request, int passes) {
  constexpr double kPeak = 2e11;  // multiplications and additions per second and thread
  double weights = 0;             // that a token is multiplied by
  for (const Unit& unit : checkpoint.units) {
    if (unit.role == Role::kEmbedding && !checkpoint.tied_embeddings) continue;
    const auto parts = static_cast<double>(unit.parts.size());
    const auto& experts =
        unit.layer < 0 ? std::nullopt : checkpoint.config.layer(unit.layer).experts;
    const double used = parts > 1 && experts ? static_cast<double>(experts->per_token) : parts;
    weights += static_cast<double>(unit.weights()) * used / parts;
  }
  const auto text = parse_calibration(request.plan.calibration);  // lengths capped
  const auto tokens = static_cast<double>(text->rows * text->length);
  return 2 * weights * tokens * passes / (kPeak * request.resources.threads);
}

FitRequest with_steps(const Checkpoint& checkpoint, const FitRequest& asked, const Steps& steps,
                      bool rows_given) {
  FitRequest request = asked;
  request.plan.method = steps.method;
  request.plan.encoder = steps.encoder;
  if (request.calibration.own()) request.calibration.text = steps.text;
  request.calibration.coefficients = CoefficientSource::kGradient;
  if (!rows_given) request.calibration.rows.rows = steps.rows;
  announce_calibration(checkpoint, request.calibration, request.plan);
  return request;
}

/// The request with the steps by which an existing OUT was made; nothing if there is none, or it
/// was made in another way.
std::optional<FitRequest> as_before(const Checkpoint& checkpoint, const FitRequest& asked,
                                    bool rows_given) {
  std::error_code error;
  if (asked.force || !std::filesystem::exists(asked.out / "plan.json", error)) return std::nullopt;
  try {
    const Plan plan = read_plan(asked.out / "plan.json");
    const auto origin = parse_calibration(plan.request.calibration);
    if (!origin) return asked;  // weights only
    for (const Steps& steps : kWays) {
      const FitRequest request = with_steps(checkpoint, asked, steps, rows_given);
      if (was_asked(request.plan, plan.request)) return request;
    }
  } catch (const Error&) {
    // check_output_folder says what is wrong with it.
  }
  return std::nullopt;
}

}  // namespace

ChosenSteps choose_steps(const Checkpoint& checkpoint, Study* study, const FitRequest& asked,
                         double seconds, bool rows_given) {
  RAM_CHECK(!needs_calibration(asked.plan));
  const auto forecast = [&](const FitRequest& request) {
    return forecast_fit(checkpoint, study, request);
  };
  if (const auto request = as_before(checkpoint, asked, rows_given)) {
    return {.request = *request, .forecast = forecast(*request), .left_out = {}};
  }
  ChosenSteps chosen{.request = asked, .forecast = forecast(asked), .left_out = {}};
  if (has_room_for_all(checkpoint, asked.plan)) return chosen;
  const double least = chosen.forecast.seconds();
  double without_text = 0;  // of the way before the last
  for (const Steps& steps : kWays) {
    const FitRequest request = with_steps(checkpoint, asked, steps, rows_given);
    const bool last_resort = &steps == &kWays.back();
    // The same step is named once.
    const auto leave_out = [&](const std::string& why) {
      if (last_resort && !chosen.left_out.empty()) return;
      chosen.left_out.push_back({.step = steps.gives, .why = why});
    };
    if (last_resort && (!asked.calibration.own() || without_text > seconds)) break;
    try {
      check_calibration_inputs(checkpoint, request.resources.engine, request.calibration,
                               request.plan);
    } catch (const Error& error) {
      if (error.code() == Code::kInterrupted) throw;
      leave_out(error.what());
      continue;
    }
    const double bound = least_seconds(checkpoint, request, steps.passes);
    if (bound > seconds) {
      leave_out(fmt::format("at least {}", format_seconds(bound)));
      continue;
    }
    const FitForecast its = forecast(request);
    without_text = its.seconds();
    for (const StageForecast& stage : its.stages) {
      if (stage.name == "write text") without_text -= stage.seconds;
    }
    if (its.seconds() <= seconds) {
      chosen.request = request;
      chosen.forecast = its;
      break;
    }
    leave_out(fmt::format("about {} more", format_seconds(its.seconds() - least)));
  }
  return chosen;
}

}  // namespace ram
