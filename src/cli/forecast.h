// What a fit is going to take, stage by stage, before the first of them.
#pragma once

#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/plan.h"

#include "calibration.h"
#include "common.h"
#include "model.h"

namespace ram::cli {

struct StageForecast {
  std::string name;          ///< "analyze", "write text", "measure coefficients", ...
  double seconds = 0;        ///< about; what the study knows, and a killed run left, takes less
  int64_t memory_bytes = 0;  ///< at most, about
  int64_t disk_bytes = 0;    ///< that it adds
};

struct FitForecast {
  std::vector<StageForecast> stages;  ///< in their order
  /// What measuring coefficients takes at least, where --probe-time is less; else 0.
  double probe_least_seconds = 0;

  double seconds() const;
  int64_t memory_bytes() const;  ///< of the stage that takes most
  int64_t disk_bytes() const;    ///< the most that is there at a time
};

/// @return the stages of a fit, as progress lines and forecasts name them.
std::vector<std::string> fit_stages(const PlanRequest& request,
                                    const CalibrationArguments& calibration);

/// Reads some of the model and does a little of everything that is going to be done; writes
/// nothing.
/// @param request as resolved. @param study null: there is none yet.
/// @cost some tenths of a second; where the model is run, some seconds.
FitForecast forecast_fit(const Common& common, const Checkpoint& checkpoint, Study* study,
                         const PlanRequest& request, const CalibrationArguments& calibration);

/// @return a table for people: a line for each stage, and their sum.
std::string forecast_text(const FitForecast& forecast);
/// @return {seconds, memory_bytes, disk_bytes, stages: [{stage, seconds, memory_bytes,
///         disk_bytes}]}
Json forecast_json(const FitForecast& forecast);

}  // namespace ram::cli
