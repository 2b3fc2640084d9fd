// Names of methods and encoders, and a request as its command line.
#include <algorithm>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/plan.h"

#include "objective.h"

namespace ram {

std::string_view method_name(Method method) {
  switch (method) {
    case Method::kSquared:
      return "squared";
    case Method::kPublished:
      return "published";
    case Method::kUniform:
      return "uniform";
    case Method::kMeasured:
      return "measured";
  }
  RAM_CHECK(false);
  return {};
}

std::optional<Method> parse_method(std::string_view name) {
  for (const Method method :
       {Method::kSquared, Method::kPublished, Method::kUniform, Method::kMeasured}) {
    if (method_name(method) == name) return method;
  }
  if (name == "ram") return Method::kPublished;
  return std::nullopt;
}

std::string current_method_name(std::string_view name) {
  const std::optional<Method> method = parse_method(name);
  return std::string(method ? method_name(*method) : name);
}

std::string_view encoder_name(Encoder encoder) {
  switch (encoder) {
    case Encoder::kMlx:
      return "mlx";
    case Encoder::kSimulated:
      return "reference";
    case Encoder::kSearch:
      return "search";
    case Encoder::kFeedback:
      return "feedback";
  }
  RAM_CHECK(false);
  return {};
}

std::optional<Encoder> parse_encoder(std::string_view name) {
  for (const Encoder encoder :
       {Encoder::kMlx, Encoder::kSimulated, Encoder::kSearch, Encoder::kFeedback}) {
    if (encoder_name(encoder) == name) return encoder;
  }
  return std::nullopt;
}

const char* coefficient_source_name(CoefficientSource source) {
  return source == CoefficientSource::kGradient ? "gradient" : "noise";
}

std::optional<CoefficientSource> parse_coefficient_source(std::string_view name) {
  for (const auto source : {CoefficientSource::kNoise, CoefficientSource::kGradient}) {
    if (coefficient_source_name(source) == name) return source;
  }
  return std::nullopt;
}

Encoder planning_encoder(Method method) {
  return method == Method::kPublished ? Encoder::kSimulated : Encoder::kMlx;
}

namespace {

// The origin of a plan's text, as calibration options; defaults are omitted.
std::string calibration_options(const PlanRequest& request) {
  const auto origin = parse_calibration(request.calibration);
  if (!origin) return {};
  constexpr int64_t kUsualRows = 64;
  constexpr int64_t kUsualLength = 256;
  constexpr uint64_t kUsualSeed = 42;
  std::string text;
  const auto add = [&text](const std::string& option) {
    text += (text.empty() ? "" : " ") + option;
  };
  if (origin->source == "random") add("--calibration random");
  if (origin->source == "file") add("--calibration FILE");
  if (origin->rows != kUsualRows) add(fmt::format("--calibration-rows {}", origin->rows));
  if (origin->length != kUsualLength) add(fmt::format("--calibration-length {}", origin->length));
  if (origin->random_start) add("--random-start");
  if (request.encoder == Encoder::kFeedback && !origin->sequential) {
    add("--calibration-inputs original");
  }
  if (request.probe_seconds > 0) add(fmt::format("--probe-time {}s", request.probe_seconds));
  if (origin->seed != kUsualSeed) add(fmt::format("--seed {}", origin->seed));
  return text;
}

}  // namespace

std::string request_options(const PlanRequest& request) {
  const PlanRequest defaults;
  std::string text;
  const auto add = [&text](const std::string& option) {
    if (!text.empty()) text += ' ';
    text += option;
  };
  if (request.budget_bytes) add(fmt::format("--budget {}", *request.budget_bytes));
  if (request.bits_per_weight) add(fmt::format("--bpw {}", *request.bits_per_weight));
  if (request.uniform) add("--uniform " + format_name(*request.uniform));
  if (request.method == Method::kPublished) add("--method published");
  if (request.method == Method::kMeasured) add("--method measured");
  if (request.coefficient_source != defaults.coefficient_source) {
    add(fmt::format("--coefficients {}", coefficient_source_name(request.coefficient_source)));
  }
  if (request.encoder != defaults.encoder) {
    add(fmt::format("--encoder {}", encoder_name(request.encoder)));
  }
  if (!request.menu.empty()) {
    std::string names;
    for (const AffineFormat format : request.menu) {
      names += fmt::format("{}{}", names.empty() ? "" : ",", format_name(format));
    }
    add("--menu " + names);
  }
  if (request.min_bits > 0) add(fmt::format("--min-bits {}", request.min_bits));
  if (request.keep != defaults.keep) {
    std::string names;
    for (const Role role : request.keep) {
      names += fmt::format("{}{}", names.empty() ? "" : ",", role_name(role));
    }
    add("--keep " + (names.empty() ? std::string("none") : names));
  }
  for (int r = 0; r < kRoleCount; ++r) {
    const auto role = static_cast<Role>(r);
    const auto found = request.role_priors.find(role);
    const auto usual = defaults.role_priors.find(role);
    const double value = found == request.role_priors.end() ? 1 : found->second;
    const double usual_value = usual == defaults.role_priors.end() ? 1 : usual->second;
    if (value != usual_value) add(fmt::format("--prior {}={}", role_name(role), value));
  }
  if (request.first_layer_prior != defaults.first_layer_prior) {
    add(fmt::format("--prior first_layer={}", request.first_layer_prior));
  }
  if (request.last_layer_prior != defaults.last_layer_prior) {
    add(fmt::format("--prior last_layer={}", request.last_layer_prior));
  }
  if (request.veto_db != defaults.veto_db) add(fmt::format("--veto {}", request.veto_db));
  if (request.allow_unsafe) add("--allow-unsafe");
  for (const Pin& pin : request.pins) {
    add(fmt::format("--pin '{}={}'", pin.pattern, unit_format_name(pin.format, request.dtype)));
  }
  if (request.time_limit_s != defaults.time_limit_s) {
    add(fmt::format("--time-limit {}", request.time_limit_s));
  }
  const std::string calibration = calibration_options(request);
  if (!calibration.empty()) add(calibration);
  return text;
}

bool same_request(const PlanRequest& a, const PlanRequest& b) {
  auto one = parse_calibration(a.calibration);
  auto other = parse_calibration(b.calibration);
  if (one && other && (one->digest.empty() || other->digest.empty())) {
    one->digest.clear();
    other->digest.clear();
  }
  return a.dtype == b.dtype && request_options(a) == request_options(b) && one == other;
}

}  // namespace ram
