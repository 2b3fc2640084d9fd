// Student's t distribution, from the incomplete beta function.
#include <cmath>

#include "ram/error.h"
#include "ram/statistics.h"

namespace ram {
namespace {

// The continued fraction of the incomplete beta function, by Lentz's method. Converges fast for
// x < (a + 1) / (a + b + 2).
// @source DLMF 8.17.22; W. J. Lentz, Applied Optics 15 (1976)
double beta_fraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  constexpr double kPrecision = 1e-16;
  constexpr int kMostTerms = 100'000;
  const auto away_from_zero = [](double value) { return std::fabs(value) < kTiny ? kTiny : value; };
  double c = 1;
  double d = 1 / away_from_zero(1 - (a + b) * x / (a + 1));
  double fraction = d;
  for (int m = 1; m <= kMostTerms; ++m) {
    const double even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away_from_zero(1 + even * d);
    c = away_from_zero(1 + even / c);
    fraction *= c * d;
    const double odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away_from_zero(1 + odd * d);
    c = away_from_zero(1 + odd / c);
    fraction *= c * d;
    if (std::fabs(c * d - 1) < kPrecision) return fraction;
  }
  return fraction;
}

// I_x(a, b); `rest` is 1 - x, given apart because it may be tiny.
double incomplete_beta(double a, double b, double x, double rest) {
  if (x <= 0) return 0;
  if (rest <= 0) return 1;
  const double front = std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) +
                                a * std::log(x) + b * std::log(rest));
  if (x < (a + 1) / (a + b + 2)) return front * beta_fraction(a, b, x) / a;
  return 1 - front * beta_fraction(b, a, rest) / b;
}

}  // namespace

double student_two_sided(double t, double degrees) {
  RAM_CHECK(degrees >= 1);
  if (std::isinf(t)) return 0;
  const double square = t * t;
  return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + square),
                         square / (degrees + square));
}

double student_quantile(double p, double degrees) {
  RAM_CHECK(p > 0 && p < 1);
  double low = 0;
  double high = 1;
  while (student_two_sided(high, degrees) > p) high *= 2;
  constexpr int kHalvings = 100;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    if (middle <= low || middle >= high) break;
    (student_two_sided(middle, degrees) > p ? low : high) = middle;
  }
  return (low + high) / 2;
}

}  // namespace ram
