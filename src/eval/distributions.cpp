// Distributions, from Boost.Math: the only file that includes it
// (docs/decisions/0010-boost-math.md).
#include "distributions.h"

#include <algorithm>
#include <cmath>

#include <boost/math/distributions/binomial.hpp>
#include <boost/math/distributions/normal.hpp>
#include <boost/math/distributions/students_t.hpp>

#include "ram/error.h"
#include "ram/statistics.h"

namespace ram {
namespace {

namespace math = boost::math;
// Doubles throughout: long double is a different type on each processor, and twice as slow.
using Policy = math::policies::policy<math::policies::promote_double<false>>;
using Binomial = math::binomial_distribution<double, Policy>;
using Normal = math::normal_distribution<double, Policy>;
using Student = math::students_t_distribution<double, Policy>;

}  // namespace

double binomial_term(int64_t trials, int64_t hits, double share) {
  return math::pdf(Binomial(static_cast<double>(trials), share), static_cast<double>(hits));
}

double binomial_lower_tail(int64_t trials, int64_t hits, double share) {
  if (hits < 0) return 0;
  if (hits >= trials) return 1;
  return math::cdf(Binomial(static_cast<double>(trials), share), static_cast<double>(hits));
}

double normal_quantile(double p) {
  RAM_CHECK(p > 0 && p < 1);
  return math::quantile(math::complement(Normal(), p / 2));
}

double binomial_test(int64_t successes, int64_t total) {
  RAM_CHECK(successes >= 0 && successes <= total);
  const int64_t lesser = std::min(successes, total - successes);
  if (total == 2 * lesser) return 1;
  return std::min(1.0, 2 * binomial_lower_tail(total, lesser, 0.5));
}

Interval share_interval(int64_t hits, int64_t trials, double level) {
  RAM_CHECK(trials >= 1 && hits >= 0 && hits <= trials);
  const auto n = static_cast<double>(trials);
  const auto k = static_cast<double>(hits);
  return {hits == 0 ? 0 : Binomial::find_lower_bound_on_p(n, k, level / 2),
          hits == trials ? 1 : Binomial::find_upper_bound_on_p(n, k, level / 2)};
}

double student_two_sided(double t, double degrees) {
  RAM_CHECK(degrees >= 1);
  if (std::isinf(t)) return 0;
  return 2 * math::cdf(math::complement(Student(degrees), std::fabs(t)));
}

double student_quantile(double p, double degrees) {
  RAM_CHECK(p > 0 && p < 1 && degrees >= 1);
  return math::quantile(math::complement(Student(degrees), p / 2));
}

}  // namespace ram
