// The difference of two models on the same rows: its clustered error, and resampling of rows.
#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>
#include <vector>

#include "ram/error.h"
#include "ram/random.h"
#include "ram/statistics.h"
#include "ram/thread.h"

#include "distributions.h"

namespace ram {
namespace {

// Sums of one resample. Each has its own stream, so that it does not matter which thread draws it.
// Two indices per draw; the bias of 32 bits is below rows / 2^32.
template <typename Weight>
double resampled(std::span<const double> sums, std::span<const Weight> weights, uint64_t stream) {
  const uint64_t rows = sums.size();
  double sum = 0;
  Weight weight = 0;
  const auto take = [&](uint64_t bits) {
    const uint64_t row = (bits * rows) >> 32;
    sum += sums[row];
    weight += weights[row];
  };
  uint64_t state = stream;
  for (uint64_t drawn = 0; drawn + 1 < rows; drawn += 2) {
    const uint64_t bits = mix_bits(state += kGoldenGamma);
    take(bits >> 32);
    take(bits & 0xffffffffU);
  }
  if (rows % 2 == 1) take(mix_bits(state + kGoldenGamma) >> 32);
  if (weight == 0) return sum > 0 ? std::numeric_limits<double>::infinity() : 1;
  return sum / static_cast<double>(weight);
}

template <typename Weight>
Interval resampled_interval(std::span<const double> sums, std::span<const Weight> weights,
                            const BootstrapOptions& options) {
  RAM_CHECK(!sums.empty() && sums.size() == weights.size());
  RAM_CHECK(options.resamples > 0);
  constexpr int64_t kChunk = 256;
  std::vector<double> found(static_cast<size_t>(options.resamples));
  const int64_t chunks = (options.resamples + kChunk - 1) / kChunk;
  parallel_for(options.threads, chunks, [&](int64_t chunk, int) {
    const int64_t end = std::min(options.resamples, (chunk + 1) * kChunk);
    for (int64_t i = chunk * kChunk; i < end; ++i) {
      const uint64_t stream = derived_seed(options.seed, static_cast<uint64_t>(i));
      found[static_cast<size_t>(i)] = resampled(sums, weights, stream);
    }
  });
  std::sort(found.begin(), found.end());
  // The ends are values of resamples, not points between two. So a ratio is above 1 exactly if the
  // difference is above 0, and an infinite ratio is harmless.
  const double last = static_cast<double>(found.size() - 1);
  const auto low = static_cast<size_t>(std::floor(kLevel / 2 * last));
  return {found[low], found[found.size() - 1 - low]};
}

}  // namespace

PairedDifference paired_difference(std::span<const double> differences,
                                   std::span<const int64_t> tokens) {
  RAM_CHECK(!differences.empty() && differences.size() == tokens.size());
  const auto rows = static_cast<double>(differences.size());
  const double sum = std::accumulate(differences.begin(), differences.end(), 0.0);
  const auto weight =
      static_cast<double>(std::accumulate(tokens.begin(), tokens.end(), int64_t{0}));
  PairedDifference result;
  result.delta = sum / weight;
  if (differences.size() < 2) {
    result.standard_error = std::numeric_limits<double>::quiet_NaN();
    result.t95 = {result.standard_error, result.standard_error};
    return result;
  }
  double squares = 0;
  for (size_t i = 0; i < differences.size(); ++i) {
    const double rest = differences[i] - result.delta * static_cast<double>(tokens[i]);
    squares += rest * rest;
  }
  result.standard_error = std::sqrt(rows / (rows - 1) * squares) / weight;
  const double reach = student_quantile(kLevel, rows - 1) * result.standard_error;
  result.t95 = {result.delta - reach, result.delta + reach};
  if (result.delta != 0) {
    result.p = result.standard_error > 0
                   ? student_two_sided(result.delta / result.standard_error, rows - 1)
                   : 0;
  }
  return result;
}

double p_above_floor(std::span<const double> kl, std::span<const double> floor, double factor) {
  RAM_CHECK(!kl.empty() && kl.size() == floor.size() && factor > 0);
  if (kl.size() < 2) return 1;
  std::vector<double> logs;
  for (size_t i = 0; i < kl.size(); ++i) {
    if (kl[i] <= 0) return 1;
    // A floor of zero is below anything: it is replaced by the smallest normal number.
    logs.push_back(std::log(kl[i]) -
                   std::log(factor * std::max(floor[i], std::numeric_limits<double>::min())));
  }
  const PairedDifference mean = paired_difference(logs, std::vector<int64_t>(logs.size(), 1));
  return mean.delta > 0 ? mean.p : 1;
}

bool within_margin(const PairedDifference& found, double margin) {
  return std::expm1(found.t95.high) <= margin && std::expm1(found.t95.low) >= -margin;
}

std::vector<size_t> surely_below(std::span<const PairedDifference> differences,
                                 std::span<const int64_t> rows, double margin) {
  RAM_CHECK(differences.size() == rows.size() && margin > 0);
  std::vector<size_t> tested;
  std::vector<double> p_values;
  for (size_t i = 0; i < differences.size(); ++i) {
    const PairedDifference& difference = differences[i];
    if (std::isnan(difference.standard_error)) continue;
    const double below = std::log1p(margin) - difference.delta;
    double p = 1;  // of a difference of the margin or more: one-sided
    if (below > 0) {
      const auto degrees = static_cast<double>(rows[i] - 1);
      p = difference.standard_error > 0
              ? student_two_sided(below / difference.standard_error, degrees) / 2
              : 0;
    }
    tested.push_back(i);
    p_values.push_back(p);
  }
  const std::vector<double> adjusted = holm(p_values);
  std::vector<size_t> below;
  for (size_t i = 0; i < tested.size(); ++i) {
    if (adjusted[i] < kLevel / 2) below.push_back(tested[i]);
  }
  return below;
}

std::optional<int64_t> rows_to_tell(const PairedDifference& found, int64_t rows, double margin,
                                    int64_t comparisons) {
  RAM_CHECK(rows >= 1 && margin > 0 && comparisons >= 1);
  if (!(found.standard_error > 0)) return std::nullopt;
  const double spread = found.standard_error * std::sqrt(static_cast<double>(rows));
  const double size = std::fabs(found.delta);
  const double room = std::log1p(margin) - size;
  // By how much an estimate is off in one direction, and in either, in one trial of five.
  const double once = normal_quantile(0.4);
  const double either = normal_quantile(0.2);
  const auto told = [&](int64_t n) {
    const auto degrees = static_cast<double>(n - 1);
    const double error = spread / std::sqrt(static_cast<double>(n));
    const double level = kLevel / static_cast<double>(comparisons);
    return size >= (student_quantile(level, degrees) + once) * error ||
           room >= (student_quantile(kLevel, degrees) + either) * error;
  };
  constexpr int64_t kMost = 1'000'000'000;
  int64_t low = std::max<int64_t>(1, rows);
  int64_t high = low + 1;
  while (high < kMost && !told(high)) {
    low = high;
    high *= 2;
  }
  if (!told(high)) return std::nullopt;
  while (high - low > 1) {
    const int64_t middle = low + (high - low) / 2;
    (told(middle) ? high : low) = middle;
  }
  return high;
}

Interval bootstrap_interval(std::span<const double> differences, std::span<const int64_t> tokens,
                            const BootstrapOptions& options) {
  return resampled_interval(differences, tokens, options);
}

Interval bootstrap_ratio_interval(std::span<const double> a_sums, std::span<const double> b_sums,
                                  const BootstrapOptions& options) {
  return resampled_interval(a_sums, b_sums, options);
}

}  // namespace ram
