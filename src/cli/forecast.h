// A forecast of a fit, for people and for programs.
#pragma once

#include <string>

#include "ram/fit.h"

#include "model.h"

namespace ram::cli {

/// @return a table for people: a line for each stage, and their sum.
std::string forecast_text(const FitForecast& forecast);
/// @return {seconds, memory_bytes, disk_bytes, stages: [{stage, seconds, memory_bytes,
///         disk_bytes}]}
Json forecast_json(const FitForecast& forecast);

}  // namespace ram::cli
