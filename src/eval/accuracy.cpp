// Right and wrong answers: what two models' flips say, and what a benchmark of so many questions
// can say at all.
#include <algorithm>
#include <cmath>
#include <vector>

#include "ram/error.h"
#include "ram/statistics.h"

namespace ram {
namespace {

constexpr double kLevel = 0.05;
constexpr double kPower = 0.8;
// Terms of a binomial distribution below this share of its largest are left out.
constexpr double kNegligible = 1e-16;

double log_choose(double n, double k) {
  return std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1);
}

double binomial_term(int64_t n, int64_t k, double p) {
  if (p <= 0) return k == 0 ? 1 : 0;
  if (p >= 1) return k == n ? 1 : 0;
  const auto total = static_cast<double>(n);
  const auto hits = static_cast<double>(k);
  return std::exp(log_choose(total, hits) + hits * std::log(p) + (total - hits) * std::log1p(-p));
}

// P(X <= k) of Binomial(n, p), from its largest term down.
double lower_tail(int64_t n, int64_t k, double p) {
  if (k < 0) return 0;
  if (k >= n) return 1;
  if (p <= 0) return 1;
  if (p >= 1) return 0;
  const auto mode = static_cast<int64_t>(std::floor(static_cast<double>(n + 1) * p));
  if (k > mode) return 1 - lower_tail(n, n - k - 1, 1 - p);
  const double odds = (1 - p) / p;
  double term = binomial_term(n, k, p);
  double sum = 0;
  for (int64_t i = k; i >= 0 && term > kNegligible * sum; --i) {
    sum += term;
    term *= static_cast<double>(i) / static_cast<double>(n - i + 1) * odds;
  }
  return sum;
}

// The largest number of the rarer flips, of `flips`, at which McNemar's test rejects; -1 for none.
int64_t critical(int64_t flips) {
  int64_t low = -1;
  int64_t high = flips / 2 + 1;
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    (binomial_test(middle, flips) < kLevel ? low : high) = middle;
  }
  return low;
}

}  // namespace

double accuracy_error(int64_t right, int64_t questions) {
  RAM_CHECK(questions >= 1 && right >= 0 && right <= questions);
  if (questions == 1) return 0;
  const double share = static_cast<double>(right) / static_cast<double>(questions);
  return std::sqrt(share * (1 - share) / static_cast<double>(questions - 1));
}

double mcnemar_test(const Flips& flips) {
  return binomial_test(flips.gained, flips.gained + flips.lost);
}

double mcnemar_power(int64_t questions, double gain_rate, double loss_rate) {
  RAM_CHECK(questions >= 1 && gain_rate >= 0 && loss_rate >= 0);
  const double rate = std::min(1.0, gain_rate + loss_rate);
  if (rate <= 0) return 0;
  const double share = gain_rate / (gain_rate + loss_rate);
  const double mean = rate * static_cast<double>(questions);
  // Beyond ten standard deviations and ten flips nothing counts.
  const double reach = 10 * std::sqrt(mean) + 10;
  const auto first = std::max<int64_t>(0, static_cast<int64_t>(mean - reach));
  const auto last = std::min(questions, static_cast<int64_t>(mean + reach));
  double power = 0;
  for (int64_t flips = first; flips <= last; ++flips) {
    const int64_t most = critical(flips);
    if (most < 0) continue;
    const double rejected = lower_tail(flips, most, share) + lower_tail(flips, most, 1 - share);
    power += binomial_term(questions, flips, rate) * std::min(1.0, rejected);
  }
  return power;
}

double detectable_difference(int64_t questions, int64_t flipped) {
  RAM_CHECK(questions >= 1 && flipped >= 0 && flipped <= questions);
  const double observed = static_cast<double>(flipped) / static_cast<double>(questions);
  const auto found = [&](double difference) {
    const double rate = std::max(observed, difference);
    return mcnemar_power(questions, (rate + difference) / 2, (rate - difference) / 2) >= kPower;
  };
  if (!found(1)) return 1;
  double low = 0;
  double high = 1;
  constexpr int kHalvings = 24;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    (found(middle) ? high : low) = middle;
  }
  return high;
}

LadderVerdict judge_ladder(std::span<const LadderStep> steps, std::span<const LadderPair> pairs) {
  RAM_CHECK(steps.size() >= 2);
  LadderVerdict verdict;
  const auto [worst, best] = std::minmax_element(
      steps.begin(), steps.end(),
      [](const LadderStep& a, const LadderStep& b) { return a.accuracy < b.accuracy; });
  verdict.best = static_cast<int>(best - steps.begin());
  verdict.worst = static_cast<int>(worst - steps.begin());
  verdict.spread = best->accuracy - worst->accuracy;
  const auto apart = [&](const LadderPair& pair) {
    return std::fabs(steps[static_cast<size_t>(pair.a)].bits -
                     steps[static_cast<size_t>(pair.b)].bits);
  };
  for (const LadderPair& pair : pairs) {
    if (std::minmax(pair.a, pair.b) == std::minmax(verdict.best, verdict.worst)) {
      verdict.detectable = pair.detectable;
    }
    if (pair.p_holm >= kLevel) continue;
    if (!verdict.closest_told || apart(pair) < apart(*verdict.closest_told)) {
      verdict.closest_told = pair;
    }
  }
  return verdict;
}

}  // namespace ram
