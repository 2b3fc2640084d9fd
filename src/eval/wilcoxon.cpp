// Tests that use only signs and ranks, and Holm's correction.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "ram/error.h"
#include "ram/statistics.h"

namespace ram {
namespace {

// Up to these sizes, without and with ties, all sign patterns are counted. @source scipy 1.17
constexpr size_t kExactWithoutTies = 50;
constexpr size_t kExactWithTies = 13;

struct SignedRanks {
  std::vector<int64_t> doubled;  // twice the rank, so that the average of a tie stays an integer
  int64_t positive = 0;          // sum of the doubled ranks of positive differences
  double ties = 0;               // sum over ties of t^3 - t
  bool has_ties = false;
};

SignedRanks rank(std::span<const double> nonzero) {
  const size_t count = nonzero.size();
  std::vector<size_t> order(count);
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(),
            [&](size_t a, size_t b) { return std::fabs(nonzero[a]) < std::fabs(nonzero[b]); });
  SignedRanks ranks;
  ranks.doubled.resize(count);
  for (size_t begin = 0; begin < count;) {
    size_t end = begin + 1;
    while (end < count && std::fabs(nonzero[order[end]]) == std::fabs(nonzero[order[begin]])) ++end;
    const auto tied = static_cast<double>(end - begin);
    ranks.ties += tied * tied * tied - tied;
    ranks.has_ties = ranks.has_ties || end - begin > 1;
    for (size_t i = begin; i < end; ++i) {
      // Ranks begin + 1 to end have the average (begin + 1 + end) / 2.
      ranks.doubled[i] = static_cast<int64_t>(begin + 1 + end);
      if (nonzero[order[i]] > 0) ranks.positive += ranks.doubled[i];
    }
    begin = end;
  }
  return ranks;
}

// Counts the sign patterns by their sum of positive ranks; counts below 2^50 are exact in a double.
double exact_p(const SignedRanks& ranks) {
  const int64_t most = std::accumulate(ranks.doubled.begin(), ranks.doubled.end(), int64_t{0});
  std::vector<double> patterns(static_cast<size_t>(most) + 1);
  patterns[0] = 1;
  int64_t reached = 0;
  for (const int64_t step : ranks.doubled) {
    reached += step;
    for (int64_t sum = reached; sum >= step; --sum) {
      patterns[static_cast<size_t>(sum)] += patterns[static_cast<size_t>(sum - step)];
    }
  }
  const int64_t lesser = std::min(ranks.positive, most - ranks.positive);
  const double tail = std::accumulate(patterns.begin(), patterns.begin() + lesser + 1, 0.0);
  return std::min(1.0, 2 * std::ldexp(tail, -static_cast<int>(ranks.doubled.size())));
}

double normal_p(const SignedRanks& ranks) {
  const auto count = static_cast<double>(ranks.doubled.size());
  const double mean = count * (count + 1) / 4;
  const double variance = (count * (count + 1) * (2 * count + 1) - ranks.ties / 2) / 24;
  if (!(variance > 0)) return 1;
  const double z = (static_cast<double>(ranks.positive) / 2 - mean) / std::sqrt(variance);
  return std::erfc(std::fabs(z) / std::numbers::sqrt2);
}

}  // namespace

double sign_test(std::span<const double> differences) {
  const auto positive = std::count_if(differences.begin(), differences.end(),
                                      [](double difference) { return difference > 0; });
  const auto negative = std::count_if(differences.begin(), differences.end(),
                                      [](double difference) { return difference < 0; });
  return binomial_test(positive, positive + negative);
}

RankTest wilcoxon_test(std::span<const double> differences) {
  std::vector<double> nonzero;
  std::copy_if(differences.begin(), differences.end(), std::back_inserter(nonzero),
               [](double difference) { return difference != 0; });
  if (nonzero.empty()) return {};
  const SignedRanks ranks = rank(nonzero);
  const bool plain = !ranks.has_ties && nonzero.size() == differences.size();
  const bool exact = differences.size() <= (plain ? kExactWithoutTies : kExactWithTies);
  const int64_t all = std::accumulate(ranks.doubled.begin(), ranks.doubled.end(), int64_t{0});
  const int64_t beyond = 2 * ranks.positive - all;
  return {.p = exact ? exact_p(ranks) : normal_p(ranks), .sign = (beyond > 0) - (beyond < 0)};
}

std::vector<double> holm(std::span<const double> p_values) {
  std::vector<size_t> order(p_values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(p_values.size());
  double least = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const auto left = static_cast<double>(order.size() - i);
    least = std::max(least, std::min(1.0, left * p_values[order[i]]));
    adjusted[order[i]] = least;
  }
  return adjusted;
}

}  // namespace ram
