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

Priors usual_priors(Method method) {
  if (method == Method::kPublished) {
    // @source reference-method.md, "Priors"
    return {.roles = {{Role::kEmbedding, 10}, {Role::kHead, 10}, {Role::kRouter, 8}},
            .tied_embedding = 10,
            .first_layer = 3,
            .last_layer = 2};
  }
  return {.roles = {{Role::kEmbedding, 10}, {Role::kHead, 100}, {Role::kRouter, 8}},
          .tied_embedding = 100,
          .first_layer = 1.5,
          .last_layer = 1.5};
}

Priors priors_of(const PlanRequest& request) {
  const Priors& given = request.priors;
  Priors all = usual_priors(request.method);
  for (const auto& [role, prior] : given.roles) all.roles[role] = prior;
  const auto embedding = given.roles.find(Role::kEmbedding);
  if (embedding != given.roles.end()) all.tied_embedding = embedding->second;
  if (given.tied_embedding) all.tied_embedding = given.tied_embedding;
  if (given.first_layer) all.first_layer = given.first_layer;
  if (given.last_layer) all.last_layer = given.last_layer;
  return all;
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
  if (request.method != Method::kUniform) {
    add(fmt::format("--method {}", method_name(request.method)));
  }
  // The program's own default is gradients.
  if (request.method == Method::kMeasured &&
      request.coefficient_source != CoefficientSource::kGradient) {
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
  const Priors priors = priors_of(request);
  const Priors usual = usual_priors(request.method);
  for (const auto& [role, value] : priors.roles) {
    const auto found = usual.roles.find(role);
    const bool tied = role == Role::kEmbedding && priors.tied_embedding != usual.tied_embedding;
    if (!tied && found != usual.roles.end() && found->second == value) continue;
    add(fmt::format("--prior {}={}", role_name(role), value));
  }
  if (priors.first_layer != usual.first_layer) {
    add(fmt::format("--prior first_layer={}", *priors.first_layer));
  }
  if (priors.last_layer != usual.last_layer) {
    add(fmt::format("--prior last_layer={}", *priors.last_layer));
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
