// A line through points.
#pragma once

#include <span>

namespace ram {

/// y = a + b x by least squares, and the residuals.
struct LineFit {
  double a = 0;
  double b = 0;    ///< 0 if all x are equal
  double rms = 0;  ///< of the residuals
};

/// @pre as many x as y, two or more.
LineFit fit_line(std::span<const double> x, std::span<const double> y);

}  // namespace ram
