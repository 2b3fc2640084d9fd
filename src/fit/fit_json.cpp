// Fits and forecasts as JSON documents.
#include "ram/fit_json.h"

#include "ram/machine.h"

namespace ram {

using Json = nlohmann::ordered_json;

namespace {

Json beside_json(const Plan& plan, const std::optional<UniformBeside>& beside) {
  if (!beside) return nullptr;
  Json document = {{"format", format_name(beside->format)},
                   {"total_bytes", beside->total_bytes},
                   {"loss", beside->loss}};
  document["loss_ratio"] = beside->loss > 0 ? Json(plan.objective / beside->loss) : Json(nullptr);
  if (plan.method == Method::kMeasured) document["predicted_kl"] = beside->loss;
  return document;
}

Json calibration_json(const Checkpoint& checkpoint, const CalibrationFindings& found,
                      const Plan& plan) {
  Json document = {
      {"text", found.text.spec}, {"digest", found.text.digest}, {"tokens", found.text.tokens()}};
  if (found.coefficients) {
    Json units = Json::array();
    for (size_t u = 0; u < found.coefficients->units.size(); ++u) {
      const auto& unit = found.coefficients->units[u];
      if (!unit) continue;
      units.push_back({{"name", checkpoint.units[u].name},
                       {"coefficient", unit->value},
                       {"log_error", unit->log_error},
                       {"seeds", unit->seeds},
                       {"rows", unit->rows},
                       {"from", coefficient_source_name(found.source)}});
    }
    document["coefficients"] = std::move(units);
    document["trusted"] = found.trusted;
    document["passes"] = found.coefficients->layers_run /
                         static_cast<double>(checkpoint.layers * std::ssize(found.text.rows));
    document["probe_seconds"] = found.coefficients->seconds;
    document["share_of_naive"] =
        found.coefficients->layers_naive > 0
            ? found.coefficients->layers_run / found.coefficients->layers_naive
            : 0;
  }
  if (found.compressed) {
    document["kl"] = found.compressed->kl;
    if (plan.method == Method::kMeasured) document["predicted_kl"] = found.predicted_kl;
    document["starved_parts"] = found.compressed->starved_parts;
  }
  return document;
}

}  // namespace

Json plan_json(const Plan& plan) {
  return parse_json(render_plan(plan), "plan.json");
}

Json fit_json(const Checkpoint& checkpoint, const FitResult& result, const std::string& out) {
  Json document = plan_json(*result.planned.plan);
  const FitSeconds& seconds = result.seconds;
  document["out"] = out;
  document["already_there"] = result.outcome == BuildOutcome::kAlreadyThere;
  document["verified"] = result.report.problems.empty();
  document["problems"] = result.report.problems;
  document["seconds"] = seconds.analyze + seconds.calibrate + seconds.plan + seconds.compress +
                        seconds.write + seconds.verify;
  document["uniform"] = beside_json(*result.planned.plan, result.beside);
  const std::optional<double> limit = loss_limit(*result.planned.plan);
  document["limit"] = limit ? Json(*limit) : Json(nullptr);
  if (result.planned.plan->method == Method::kMeasured) {
    document["predicted_kl"] = result.planned.plan->objective;
  }
  if (result.calibration) {
    document["calibration"] =
        calibration_json(checkpoint, *result.calibration, *result.planned.plan);
    for (const char* key : {"predicted_kl", "kl"}) {
      if (document["calibration"].contains(key)) document[key] = document["calibration"][key];
    }
  }
  document["steps"] = {{"analyze", seconds.analyze}, {"calibrate", seconds.calibrate},
                       {"plan", seconds.plan},       {"compress", seconds.compress},
                       {"write", seconds.write},     {"verify", seconds.verify}};
  document["peak_resident_bytes"] = peak_resident_bytes();
  return document;
}

Json forecast_json(const FitForecast& forecast) {
  Json stages = Json::array();
  for (const StageForecast& stage : forecast.stages) {
    stages.push_back({{"stage", stage.name},
                      {"seconds", stage.seconds},
                      {"memory_bytes", stage.memory_bytes},
                      {"disk_bytes", stage.disk_bytes}});
  }
  return {{"seconds", forecast.seconds()},
          {"memory_bytes", forecast.memory_bytes()},
          {"disk_bytes", forecast.disk_bytes()},
          {"stages", std::move(stages)}};
}

}  // namespace ram
