// Right and wrong answers: what the flips between two models show, and what a benchmark of a given
// number of questions can show at all.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "ram/error.h"
#include "ram/statistics.h"

#include "distributions.h"

namespace ram {
namespace {

constexpr double kPower = 0.8;

/// The critical values of McNemar's test at one level. Computed once per number of flips, since a
/// search needs the same ones in each of its steps.
class CriticalValues {
 public:
  explicit CriticalValues(double level) : level_(level) {}

  /// @return the largest count of the rarer flips, out of `flips`, at which it rejects; -1 for
  /// none.
  int64_t of(int64_t flips) {
    const auto at = static_cast<size_t>(flips);
    if (at >= known_.size()) known_.resize(at + 1, kNotYet);
    if (known_[at] == kNotYet) known_[at] = find(flips);
    return known_[at];
  }

 private:
  static constexpr int64_t kNotYet = -2;

  int64_t find(int64_t flips) const {
    int64_t low = -1;
    int64_t high = flips / 2 + 1;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      (binomial_test(middle, flips) < level_ ? low : high) = middle;
    }
    return low;
  }

  double level_;
  std::vector<int64_t> known_;
};

double power_of(int64_t questions, double gain_rate, double loss_rate, CriticalValues& critical) {
  const double rate = std::min(1.0, gain_rate + loss_rate);
  if (rate <= 0) return 0;
  const double share = gain_rate / (gain_rate + loss_rate);
  const double mean = rate * static_cast<double>(questions);
  // Beyond ten standard deviations plus ten flips nothing matters.
  const double reach = 10 * std::sqrt(mean) + 10;
  const auto first = std::max<int64_t>(0, static_cast<int64_t>(mean - reach));
  const auto last = std::min(questions, static_cast<int64_t>(mean + reach));
  double power = 0;
  for (int64_t flips = first; flips <= last; ++flips) {
    const int64_t most = critical.of(flips);
    if (most < 0) continue;
    const double rejected =
        binomial_lower_tail(flips, most, share) + binomial_lower_tail(flips, most, 1 - share);
    power += binomial_term(questions, flips, rate) * std::min(1.0, rejected);
  }
  return power;
}

CriticalValues critical_among(int64_t comparisons) {
  RAM_CHECK(comparisons >= 1);
  return CriticalValues(kLevel / static_cast<double>(comparisons));
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

double mcnemar_power(int64_t questions, double gain_rate, double loss_rate, int64_t comparisons) {
  RAM_CHECK(questions >= 1 && gain_rate >= 0 && loss_rate >= 0);
  CriticalValues critical = critical_among(comparisons);
  return power_of(questions, gain_rate, loss_rate, critical);
}

double detectable_difference(int64_t questions, int64_t flipped, int64_t comparisons) {
  RAM_CHECK(questions >= 1 && flipped >= 0 && flipped <= questions);
  const double observed = static_cast<double>(flipped) / static_cast<double>(questions);
  CriticalValues critical = critical_among(comparisons);
  const auto found = [&](double difference) {
    const double rate = std::max(observed, difference);
    return power_of(questions, (rate + difference) / 2, (rate - difference) / 2, critical) >=
           kPower;
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

std::optional<int64_t> questions_to_detect(double difference, double flip_rate,
                                           int64_t comparisons) {
  RAM_CHECK(difference > 0 && difference <= 1 && flip_rate >= 0 && flip_rate <= 1);
  const double rate = std::max(flip_rate, difference);
  CriticalValues critical = critical_among(comparisons);
  const auto found = [&](int64_t questions) {
    return power_of(questions, (rate + difference) / 2, (rate - difference) / 2, critical) >=
           kPower;
  };
  constexpr int64_t kMost = int64_t{1} << 22;
  int64_t high = 1;
  while (high < kMost && !found(high)) high *= 2;
  if (!found(high)) return std::nullopt;
  int64_t low = high / 2;
  // The power of an exact test falls slightly between two steps of its critical value: this
  // search's result is close enough to the smallest number.
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (found(middle) ? high : low) = middle;
  }
  return high;
}

Interval flips_interval(const Flips& flips, int64_t questions) {
  RAM_CHECK(flips.gained >= 0 && flips.lost >= 0 && questions >= 1);
  RAM_CHECK(flips.gained + flips.lost <= questions);
  const auto n = static_cast<double>(questions);
  const auto gained = static_cast<double>(flips.gained);
  const auto lost = static_cast<double>(flips.lost);
  // The squared score of a difference: its distance from the observed one, in units of the error
  // under that difference.
  const auto score = [&](double difference) {
    const double b = -gained - lost + (2 * n - gained + lost) * difference;
    const double c = -lost * difference * (1 - difference);
    const double loss_rate = (std::sqrt(b * b - 8 * n * c) - b) / (4 * n);
    const double variance = n * (2 * loss_rate + difference * (1 - difference));
    const double distance = gained - lost - n * difference;
    if (distance == 0) return 0.0;
    return variance > 0 ? distance * distance / variance : std::numeric_limits<double>::infinity();
  };
  const double most = normal_quantile(kLevel) * normal_quantile(kLevel);
  const double middle = (gained - lost) / n;
  const auto end = [&](double outside) {
    if (score(outside) <= most) return outside;
    double inside = middle;
    constexpr int kHalvings = 60;
    for (int i = 0; i < kHalvings; ++i) {
      const double between = (inside + outside) / 2;
      (score(between) <= most ? inside : outside) = between;
    }
    return (inside + outside) / 2;
  };
  return {end(-1), end(1)};
}

}  // namespace ram
