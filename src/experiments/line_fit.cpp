#include "line_fit.h"

#include <cmath>
#include <cstddef>

namespace ram {

LineFit fit_line(std::span<const double> x, std::span<const double> y) {
  const auto count = static_cast<double>(x.size());
  double mean_x = 0;
  double mean_y = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / count;
    mean_y += y[i] / count;
  }
  double xx = 0;
  double xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  LineFit fit{.b = xx > 0 ? xy / xx : 0};
  fit.a = mean_y - fit.b * mean_x;
  for (size_t i = 0; i < x.size(); ++i) {
    fit.rms += std::pow(y[i] - fit.a - fit.b * x[i], 2) / count;
  }
  fit.rms = std::sqrt(fit.rms);
  return fit;
}

}  // namespace ram
