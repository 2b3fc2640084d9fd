// Levels by simulation: under the null hypothesis intervals must cover, and tests must reject, as
// often as specified. Takes minutes without optimization: skipped there.
#include <array>
#include <cmath>
#include <cstdio>
#include <random>
#include <tuple>

#include <gtest/gtest.h>

#include "ram/machine.h"
#include "ram/statistics.h"
#include "ram/thread.h"

#include "test_trials.h"

namespace ram {
namespace {

constexpr int kSimulatedTrials = 2000;
constexpr size_t kSimulatedRows = 150;

struct Shares {
  double covered = 0;
  double bootstrap_rejects = 0;
  double wilcoxon_rejects = 0;
  double sign_rejects = 0;
  double small_wilcoxon_rejects = 0;  // exact: the first 20 rows
};

Shares simulate(const Draw& draw, bool rows_of_one_length) {
  std::array<std::vector<int>, 5> hits;
  for (std::vector<int>& hit : hits) hit.assign(kSimulatedTrials, 0);
  parallel_for(default_threads(), kSimulatedTrials, [&](int64_t trial, int) {
    Generator generator(static_cast<uint64_t>(trial) + 1);
    std::vector<double> means(kSimulatedRows);
    std::vector<double> sums(kSimulatedRows);
    std::vector<int64_t> tokens(kSimulatedRows);
    for (size_t i = 0; i < kSimulatedRows; ++i) {
      tokens[i] = rows_of_one_length ? 2047 : 1024 + static_cast<int64_t>(generator() % 1024);
      means[i] = draw(generator);
      sums[i] = means[i] * static_cast<double>(tokens[i]);
    }
    const auto t = static_cast<size_t>(trial);
    hits[0][t] = paired_difference(sums, tokens).t95.holds(0) ? 1 : 0;
    const BootstrapOptions options = {.seed = static_cast<uint64_t>(trial)};
    hits[1][t] = bootstrap_interval(sums, tokens, options).holds(0) ? 0 : 1;
    hits[2][t] = wilcoxon_test(means).p <= kLevel ? 1 : 0;
    hits[3][t] = sign_test(means) <= kLevel ? 1 : 0;
    hits[4][t] = wilcoxon_test(std::span(means).first(20)).p <= kLevel ? 1 : 0;
  });
  const auto share = [&](size_t which) {
    double sum = 0;
    for (const int hit : hits[which]) sum += hit;
    return sum / kSimulatedTrials;
  };
  return {share(0), share(1), share(2), share(3), share(4)};
}

Shares levels(const char* name, const Draw& draw, bool rows_of_one_length) {
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

TEST_F(Simulation, NormalDifferencesKeepTheLevels) {
  EXPECT_LE(levels("normal", normal, true).bootstrap_rejects, 0.06);
}

TEST_F(Simulation, HeavyTailsKeepTheLevels) {
  EXPECT_LE(levels("heavy tails", heavy, true).bootstrap_rejects, 0.06);
}

// Heavy tails and uneven rows together: the percentile interval is slightly narrow.
TEST_F(Simulation, RowsOfDifferentLengthKeepTheLevels) {
  EXPECT_LE(levels("heavy tails, uneven rows", heavy, false).bootstrap_rejects, 0.07);
}

// Why verdicts use Student's interval: if a few rows hold most of the variance, the percentile
// interval rejects up to twice too often, and Student's does not.
TEST_F(Simulation, GarbageRowsMakeTheBootstrapRejectTooOftenAndNothingElse) {
  const double rejects = levels("garbage rows", garbage, true).bootstrap_rejects;
  EXPECT_GT(rejects, 0.06) << "docs/evaluation.md says otherwise";
  EXPECT_LT(rejects, 0.12);
}

// Answers of two models: each question has a subject, a difficulty and its own flip rate, so that
// both models are right on mostly the same ones.
struct AnswerShares {
  double mcnemar_rejects = 0;
  double bootstrap_rejects = 0;  // over subjects
};

// @param shift by how much a gains more often than it loses. @param subject_spread the spread of
// this shift over subjects (zero on average).
AnswerShares simulate_answers(int64_t subjects, int64_t of_each, double flip_rate, double shift,
                              double subject_spread, int64_t resamples = 2000) {
  std::array<std::vector<int>, 2> hits;
  for (std::vector<int>& hit : hits) hit.assign(kSimulatedTrials, 0);
  parallel_for(default_threads(), kSimulatedTrials, [&](int64_t trial, int) {
    Generator generator(static_cast<uint64_t>(trial) + 7);
    std::uniform_real_distribution<double> uniform;
    std::vector<double> sums;
    std::vector<int64_t> counts;
    Flips flips;
    for (int64_t s = 0; s < subjects; ++s) {
      const double own = subject_spread * std::normal_distribution<double>()(generator);
      double sum = 0;
      for (int64_t i = 0; i < of_each; ++i) {
        if (uniform(generator) >= flip_rate) continue;
        const bool gain = uniform(generator) < 0.5 + (shift + own) / (2 * flip_rate);
        (gain ? flips.gained : flips.lost) += 1;
        sum += gain ? 1 : -1;
      }
      sums.push_back(sum);
      counts.push_back(of_each);
    }
    const auto t = static_cast<size_t>(trial);
    hits[0][t] = mcnemar_test(flips) < kLevel ? 1 : 0;
    const BootstrapOptions options = {.resamples = resamples, .seed = static_cast<uint64_t>(trial)};
    hits[1][t] = bootstrap_interval(sums, counts, options).holds(0) ? 0 : 1;
  });
  const auto share = [&](size_t which) {
    double sum = 0;
    for (const int hit : hits[which]) sum += hit;
    return sum / kSimulatedTrials;
  };
  return {share(0), share(1)};
}

TEST_F(Simulation, AnswersKeepTheLevels) {
  for (const auto& [subjects, of_each, rate] : {std::tuple{int64_t{1172}, int64_t{1}, 0.05},
                                                {int64_t{57}, int64_t{100}, 0.05},
                                                {int64_t{300}, int64_t{1}, 0.2}}) {
    const AnswerShares shares = simulate_answers(subjects, of_each, rate, 0, 0);
    std::printf(
        "%ld x %ld questions, %.0f %% flip: rejected by McNemar %.2f %%, bootstrap %.2f %%\n",
        static_cast<long>(subjects), static_cast<long>(of_each), 100 * rate,
        100 * shares.mcnemar_rejects, 100 * shares.bootstrap_rejects);
    EXPECT_LE(shares.mcnemar_rejects, 0.055) << "exact, so at most 5 % but for 2,000 trials' error";
    EXPECT_GE(shares.mcnemar_rejects, 0.02);
    EXPECT_LE(shares.bootstrap_rejects, 0.075);
    EXPECT_GE(shares.bootstrap_rejects, 0.035);
  }
}

// Why the interval of MMLU resamples subjects: if a model is better in some subjects and worse in
// others, questions of one subject are not independent.
TEST_F(Simulation, AnswersThatHangTogetherBySubjectNeedClusters) {
  const AnswerShares shares = simulate_answers(57, 100, 0.1, 0, 0.04);
  std::printf("subjects differ: rejected by McNemar %.2f %%, bootstrap over subjects %.2f %%\n",
              100 * shares.mcnemar_rejects, 100 * shares.bootstrap_rejects);
  EXPECT_GT(shares.mcnemar_rejects, 0.06) << "docs/evaluation.md says otherwise";
  EXPECT_LE(shares.bootstrap_rejects, 0.08);
  EXPECT_GE(shares.bootstrap_rejects, 0.035);
}

TEST_F(Simulation, TheDetectableDifferenceIsFoundInFourOfFiveTrials) {
  for (const auto& [questions, rate] :
       {std::pair{int64_t{1172}, 0.05}, {int64_t{600}, 0.1}, {int64_t{1267}, 0.02}}) {
    const double detectable = detectable_difference(
        questions, static_cast<int64_t>(std::llround(rate * static_cast<double>(questions))));
    const AnswerShares shares =
        simulate_answers(questions, 1, std::max(rate, detectable), detectable, 0, 1);
    std::printf("%ld questions, %.0f %% flip: %.2f points, found in %.1f %%\n",
                static_cast<long>(questions), 100 * rate, 100 * detectable,
                100 * shares.mcnemar_rejects);
    EXPECT_GE(shares.mcnemar_rejects, 0.77);
    EXPECT_LE(shares.mcnemar_rejects, 0.83);
  }
}

}  // namespace
}  // namespace ram
