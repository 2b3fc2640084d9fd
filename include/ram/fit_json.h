// Fits and forecasts as JSON documents: what `fit --json` prints (docs/cli.md). Part of the module
// `fit`.
#pragma once

#include <string>

#include "ram/fit.h"
#include "ram/json.h"

namespace ram {

/// @return plan.json's document.
nlohmann::ordered_json plan_json(const Plan& plan);

/// The plan's document, the outcome, and the time of each step.
/// @param out as typed. @pre the fit has a plan.
nlohmann::ordered_json fit_json(const Checkpoint& checkpoint, const FitResult& result,
                                const std::string& out);

/// @return {seconds, memory_bytes, disk_bytes, stages: [{stage, seconds, memory_bytes,
///         disk_bytes}]}
nlohmann::ordered_json forecast_json(const FitForecast& forecast);

}  // namespace ram
