// A forecast of a fit, as text.
#pragma once

#include <string>

#include "ram/fit.h"

namespace ram::cli {

/// @return a table with a line for each stage, and their sum.
std::string forecast_text(const FitForecast& forecast);

}  // namespace ram::cli
