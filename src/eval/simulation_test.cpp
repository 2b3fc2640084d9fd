// Levels by simulation: under the null hypothesis intervals must cover, and tests must reject, as
// often as they say. Minutes in a build without optimization: skipped there.
#include <array>
#include <cmath>
#include <cstdio>
#include <functional>
#include <random>

#include <gtest/gtest.h>

#include "ram/statistics.h"
#include "ram/thread.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RAM_TOO_SLOW 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
#define RAM_TOO_SLOW 1
#endif

namespace ram {
namespace {

constexpr int kTrials = 2000;
constexpr size_t kRows = 150;
constexpr double kLevel = 0.05;

// Per row the difference of two models' losses per token, symmetric about zero.
using Draw = std::function<double(std::mt19937_64&)>;

double normal(std::mt19937_64& generator) {
  return std::normal_distribution<double>()(generator);
}
// Three degrees of freedom: the fourth moment is infinite.
double heavy(std::mt19937_64& generator) {
  return std::student_t_distribution<double>(3)(generator);
}
// One row in thirty is twenty times as wide, as rows of garbage are.
double garbage(std::mt19937_64& generator) {
  const bool is_garbage = std::uniform_int_distribution<int>(0, 29)(generator) == 0;
  return (is_garbage ? 20 : 1) * normal(generator);
}

struct Shares {
  double covered = 0;
  double bootstrap_rejects = 0;
  double wilcoxon_rejects = 0;
  double sign_rejects = 0;
  double small_wilcoxon_rejects = 0;  // exact: the first 20 rows
};

Shares simulate(const Draw& draw, bool rows_of_one_length) {
  std::array<std::vector<int>, 5> hits;
  for (std::vector<int>& hit : hits) hit.assign(kTrials, 0);
  parallel_for(default_threads(), kTrials, [&](int64_t trial, int) {
    std::mt19937_64 generator(static_cast<uint64_t>(trial) + 1);
    std::vector<double> means(kRows);
    std::vector<double> sums(kRows);
    std::vector<int64_t> tokens(kRows);
    for (size_t i = 0; i < kRows; ++i) {
      tokens[i] = rows_of_one_length ? 2047 : 1024 + static_cast<int64_t>(generator() % 1024);
      means[i] = draw(generator);
      sums[i] = means[i] * static_cast<double>(tokens[i]);
    }
    const auto t = static_cast<size_t>(trial);
    hits[0][t] = paired_difference(sums, tokens).t95.holds(0) ? 1 : 0;
    const BootstrapOptions options = {.seed = static_cast<uint64_t>(trial)};
    hits[1][t] = bootstrap_interval(sums, tokens, options).holds(0) ? 0 : 1;
    hits[2][t] = wilcoxon_test(means) <= kLevel ? 1 : 0;
    hits[3][t] = sign_test(means) <= kLevel ? 1 : 0;
    hits[4][t] = wilcoxon_test(std::span(means).first(20)) <= kLevel ? 1 : 0;
  });
  const auto share = [&](size_t which) {
    double sum = 0;
    for (const int hit : hits[which]) sum += hit;
    return sum / kTrials;
  };
  return {share(0), share(1), share(2), share(3), share(4)};
}

class Simulation : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef RAM_TOO_SLOW
    GTEST_SKIP() << "only in the optimized build: minutes in this one";
#endif
  }

  static Shares levels(const char* name, const Draw& draw, bool rows_of_one_length) {
    const Shares shares = simulate(draw, rows_of_one_length);
    std::printf(
        "%s: covered %.2f %%, rejected by bootstrap %.2f %%, Wilcoxon %.2f %%, "
        "sign %.2f %%, exact Wilcoxon %.2f %%\n",
        name, 100 * shares.covered, 100 * shares.bootstrap_rejects, 100 * shares.wilcoxon_rejects,
        100 * shares.sign_rejects, 100 * shares.small_wilcoxon_rejects);
    EXPECT_GE(shares.covered, 0.93);
    EXPECT_LE(shares.covered, 0.97);
    EXPECT_GE(shares.wilcoxon_rejects, 0.04);
    EXPECT_LE(shares.wilcoxon_rejects, 0.06);
    EXPECT_LE(shares.sign_rejects, 0.05);
    EXPECT_LE(shares.small_wilcoxon_rejects, 0.05);
    EXPECT_GE(shares.bootstrap_rejects, 0.04);
    return shares;
  }
};

TEST_F(Simulation, NormalDifferencesKeepTheLevels) {
  EXPECT_LE(levels("normal", normal, true).bootstrap_rejects, 0.06);
}

TEST_F(Simulation, HeavyTailsKeepTheLevels) {
  EXPECT_LE(levels("heavy tails", heavy, true).bootstrap_rejects, 0.06);
}

// Both sources of unevenness at once: the percentile interval is a little narrow.
TEST_F(Simulation, RowsOfDifferentLengthKeepTheLevels) {
  EXPECT_LE(levels("heavy tails, uneven rows", heavy, false).bootstrap_rejects, 0.07);
}

// The reason why verdicts rest on Student's interval: where a few rows hold most of the variance,
// the percentile interval rejects up to twice too often, and this one does not.
TEST_F(Simulation, GarbageRowsMakeTheBootstrapRejectTooOftenAndNothingElse) {
  const double rejects = levels("garbage rows", garbage, true).bootstrap_rejects;
  EXPECT_GT(rejects, 0.06) << "docs/evaluation.md says otherwise";
  EXPECT_LT(rejects, 0.12);
}

}  // namespace
}  // namespace ram
