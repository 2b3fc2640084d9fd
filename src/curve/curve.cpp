// Figures of a unit from its sums: those used in plans and reports.
#include "ram/curve.h"

#include <algorithm>
#include <limits>

#include "ram/error.h"

namespace ram {
namespace {

size_t checked(int format, uint32_t formats) {
  RAM_CHECK(format >= 0 && format < kFormatCount && (formats >> format & 1U) != 0);
  return static_cast<size_t>(format);
}

}  // namespace

double UnitCurve::nrmse(int format, Encoder encoder) const {
  const size_t f = checked(format, formats);
  const int64_t count = part_weights * static_cast<int64_t>(parts.size());
  if (encoder == Encoder::kMlx) {
    return ram::nrmse(pooled.squared_error[f], pooled.sum_squares, count);
  }
  // The parts have equal shapes: the mean weighted by the number of weights is the plain mean.
  // @source the published `weighted_mean`
  double sum = 0;
  for (const Distortion& part : parts) {
    sum += ram::nrmse(part.squared_error[f], part.sum_squares, part_weights);
  }
  return parts.empty() ? 0 : sum / static_cast<double>(parts.size());
}

double UnitCurve::sqnr_db(int format) const {
  const size_t f = checked(format, formats);
  if (parts.empty()) return 100;  // no noise. @source the published definition of SQNR
  double least = std::numeric_limits<double>::infinity();
  for (const Distortion& part : parts) {
    least = std::min(least, ram::sqnr_db(part.squared_error[f], part.sum_squares, part_weights));
  }
  return least;
}

double UnitCurve::mse(int format) const {
  const size_t f = checked(format, formats);
  const int64_t count = part_weights * static_cast<int64_t>(parts.size());
  return count == 0 ? 0 : pooled.squared_error[f] / static_cast<double>(count);
}

}  // namespace ram
