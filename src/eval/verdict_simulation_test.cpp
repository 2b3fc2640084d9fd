// The basis of verdicts, by simulation: intervals of shares, ties, the number of rows and questions
// said to be needed, divergences against their floor. As simulation_test.cpp: only in optimized
// builds.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <random>

#include <gtest/gtest.h>

#include "ram/statistics.h"

#include "test_trials.h"

namespace ram {
namespace {

class VerdictSimulation : public Simulation {};

// Rows whose losses per token differ by `delta` plus a random amount of size `spread`.
PairedDifference draw_difference(Generator& generator, int64_t rows, double delta, double spread,
                                 Draw draw) {
  std::vector<double> sums;
  const std::vector<int64_t> tokens(static_cast<size_t>(rows), 100);
  for (int64_t i = 0; i < rows; ++i) sums.push_back(100 * (delta + spread * draw(generator)));
  return paired_difference(sums, tokens);
}

Flips draw_flips(Generator& generator, int64_t questions, double gain, double loss) {
  Flips flips;
  std::uniform_real_distribution<double> uniform;
  for (int64_t i = 0; i < questions; ++i) {
    const double at = uniform(generator);
    flips.gained += at < gain ? 1 : 0;
    flips.lost += at >= gain && at < gain + loss ? 1 : 0;
  }
  return flips;
}

// Exact, by summing over all outcomes: at least 95 % for any share, 0 and 1 included.
TEST_F(VerdictSimulation, TheIntervalOfAShareHoldsItInAtLeast95Percent) {
  for (const int64_t n : {1, 20, 100, 600}) {
    std::vector<Interval> intervals;
    for (int64_t k = 0; k <= n; ++k) intervals.push_back(share_interval(k, n));
    double least = 1;
    double mean = 0;
    constexpr int kSteps = 999;
    for (int step = 1; step <= kSteps; ++step) {
      const double share = static_cast<double>(step) / (kSteps + 1);
      double covered = 0;
      for (int64_t k = 0; k <= n; ++k) {
        if (!intervals[static_cast<size_t>(k)].holds(share)) continue;
        const auto total = static_cast<double>(n);
        const auto hits = static_cast<double>(k);
        covered += std::exp(std::lgamma(total + 1) - std::lgamma(hits + 1) -
                            std::lgamma(total - hits + 1) + hits * std::log(share) +
                            (total - hits) * std::log1p(-share));
      }
      least = std::min(least, covered);
      mean += covered / kSteps;
    }
    std::printf("a share of %ld: covered at least %.2f %%, %.2f %% on average\n",
                static_cast<long>(n), 100 * least, 100 * mean);
    EXPECT_GE(least, 0.95 - 1e-9);
    EXPECT_LE(mean, n >= 100 ? 0.975 : 1) << "much wider than need be";
  }
}

TEST_F(VerdictSimulation, TheIntervalOfFlipsHoldsTheDifferenceOfAccuracies) {
  struct Case {
    int64_t questions;
    double gain;
    double loss;
  };
  for (const auto& [questions, gain, loss] :
       {Case{20, 0.05, 0.05}, Case{20, 0.3, 0.1}, Case{100, 0.02, 0.02}, Case{100, 0.1, 0.04},
        Case{600, 0.002, 0.002}, Case{600, 0.05, 0.01}, Case{1172, 0.05, 0.05}}) {
    const double covered = share_of(
        10'000, [&, questions = questions, gain = gain, loss = loss](Generator& generator) {
          return flips_interval(draw_flips(generator, questions, gain, loss), questions)
              .holds(gain - loss);
        });
    std::printf("%ld questions, gained %.1f %%, lost %.1f %%: covered %.2f %%\n",
                static_cast<long>(questions), 100 * gain, 100 * loss, 100 * covered);
    EXPECT_GE(covered, 0.93);
  }
}

// Two models exactly the margin apart must rarely be called tied, for any kind of rows.
TEST_F(VerdictSimulation, ModelsThatLieAMarginApartAreSeldomTied) {
  constexpr double kMargin = 0.005;
  for (const auto& [name, draw] : {std::pair<const char*, Draw>{"normal", &normal},
                                   {"heavy tails", &heavy},
                                   {"garbage rows", &garbage}}) {
    for (const int64_t rows : {3, 20, 150}) {
      const double delta = std::log1p(kMargin);
      // The interval is then about a third of the margin wide: it would often be within the margin
      // if there were no difference.
      const double spread = delta / 6 * std::sqrt(static_cast<double>(rows)) / 2;
      const double tied = share_of(4000, [&, draw = draw](Generator& generator) {
        return within_margin(draw_difference(generator, rows, delta, spread, draw), kMargin);
      });
      std::printf("%s, %ld rows: tied %.2f %%\n", name, static_cast<long>(rows), 100 * tied);
      EXPECT_LE(tied, 0.037);
    }
  }
}

// Models exactly the margin worse: one of them is said to lose less in little more than 2.5 %,
// although the smallest of those that pass is picked.
TEST_F(VerdictSimulation, OfModelsAMarginWorseHardlyOneIsSurelyBelowIt) {
  constexpr double kMargin = 0.01;
  constexpr int64_t kRows = 40;
  for (const size_t models : {1, 4, 12}) {
    std::atomic<int> uncorrected = 0;
    constexpr int kTrials = 4000;
    const double claimed = share_of(kTrials, [&](Generator& generator) {
      std::vector<PairedDifference> found;
      for (size_t m = 0; m < models; ++m) {
        found.push_back(draw_difference(generator, kRows, std::log1p(kMargin), 0.02, &normal));
      }
      uncorrected += std::any_of(found.begin(), found.end(), [&](const PairedDifference& one) {
        return std::expm1(one.t95.high) < kMargin;
      });
      return !surely_below(found, std::vector<int64_t>(models, kRows), kMargin).empty();
    });
    std::printf("%ld models a margin worse: surely below it in %.2f %%, uncorrected in %.2f %%\n",
                static_cast<long>(models), 100 * claimed, 100.0 * uncorrected / kTrials);
    EXPECT_LE(claimed, 0.034);
    EXPECT_GE(claimed, 0.012);
    if (models == 12) {
      EXPECT_GT(uncorrected, 0.15 * kTrials) << "what it is corrected for";
    }
  }
}

TEST_F(VerdictSimulation, TheRowsThatWouldDoTellInFourOfFiveTrials) {
  constexpr double kMargin = 0.005;
  for (const int64_t comparisons : {1, 10}) {
    for (const double delta : {0.0, 0.004, 0.02, 0.2}) {
      constexpr double kSpread = 0.03;
      constexpr int64_t kRows = 2;
      PairedDifference found;
      found.delta = delta;
      found.standard_error = kSpread / std::sqrt(double{kRows});
      const std::optional<int64_t> needed = rows_to_tell(found, kRows, kMargin, comparisons);
      ASSERT_TRUE(needed.has_value());
      const auto told = [&](int64_t rows) {
        return share_of(2000, [&](Generator& generator) {
          const PairedDifference drawn = draw_difference(generator, rows, delta, kSpread, &normal);
          return drawn.p * static_cast<double>(comparisons) < kLevel ||
                 within_margin(drawn, kMargin);
        });
      };
      const double share = told(*needed);
      std::printf("a difference of %.3f among %ld: %ld rows tell in %.1f %%\n", delta,
                  static_cast<long>(comparisons), static_cast<long>(*needed), 100 * share);
      EXPECT_GE(share, 0.77);
      if (*needed > 10) {
        EXPECT_LT(told(*needed / 2), 0.8) << "far more than are needed";
      }
    }
  }
}

// Divergences of the floor's times the factor, apart from variation by row.
TEST_F(VerdictSimulation, DivergencesAtTheFloorAreSeldomSaidToLieAboveIt) {
  for (const int64_t rows : {2, 5, 20, 150}) {
    for (const double sigma : {0.1, 0.5, 1.5}) {
      const auto above = [&](double log_mean, Draw draw) {
        return share_of(4000, [&](Generator& generator) {
          std::vector<double> kl;
          std::vector<double> floor;
          for (int64_t i = 0; i < rows; ++i) {
            floor.push_back(1e-4 * std::exp(normal(generator)));
            kl.push_back(1.5 * floor.back() * std::exp(log_mean + sigma * draw(generator)));
          }
          return p_above_floor(kl, floor, 1.5) < kLevel;
        });
      };
      const double median = above(0, &normal);
      const double mean = above(-sigma * sigma / 2, &normal);  // the mean ratio is 1.5
      const double tails = above(0, &heavy);
      std::printf("%ld rows, sigma %.1f: above in %.2f %%, by the mean %.2f %%, heavy %.2f %%\n",
                  static_cast<long>(rows), sigma, 100 * median, 100 * mean, 100 * tails);
      EXPECT_LE(median, 0.035);
      EXPECT_LE(mean, 0.035);
      EXPECT_LE(tails, 0.035);
      if (rows > 2 && sigma < 1) {
        EXPECT_GT(above(2, &normal), 0.8) << "seven times the floor";
      }
    }
  }
}

// Some pair of four equal models is distinguished in at most one of twenty comparisons.
TEST_F(VerdictSimulation, EqualModelsAreSeldomRankedHoweverManyThereAre) {
  for (const Draw draw : {&normal, &heavy}) {
    const double ranked = share_of(4000, [&](Generator& generator) {
      constexpr int64_t kRows = 60;
      std::vector<std::vector<double>> losses(4);
      for (int64_t i = 0; i < kRows; ++i) {
        const double row = 3 * normal(generator);
        for (auto& own : losses) own.push_back(row + draw(generator));
      }
      std::vector<double> p_values;
      for (size_t a = 0; a < losses.size(); ++a) {
        for (size_t b = 0; b < a; ++b) {
          std::vector<double> differences;
          for (size_t i = 0; i < losses[a].size(); ++i) {
            differences.push_back(losses[a][i] - losses[b][i]);
          }
          p_values.push_back(paired_difference(differences, std::vector<int64_t>(kRows, 1)).p);
        }
      }
      const std::vector<double> adjusted = holm(p_values);
      return *std::min_element(adjusted.begin(), adjusted.end()) < kLevel;
    });
    std::printf("four equal models: some pair ranked in %.2f %%\n", 100 * ranked);
    EXPECT_LE(ranked, 0.058);
  }
}

// One task, two models: right answers and flips drawn at random.
LadderVerdict draw_ladder(Generator& generator, int64_t questions, double accuracy, double gain,
                          double loss, double chance) {
  const Flips flips = draw_flips(generator, questions, gain, loss);
  // Questions without a flip are right in both or in neither.
  const double rest = (accuracy - loss) / (1 - gain - loss);
  std::binomial_distribution<int64_t> both(questions - flips.gained - flips.lost, rest);
  const int64_t shared = both(generator);
  std::vector<LadderStep> steps;
  for (const int64_t right : {shared + flips.lost, shared + flips.gained}) {
    steps.push_back({.bits = steps.empty() ? 16.0 : 4.0,
                     .right = right,
                     .questions = questions,
                     .chance = chance});
  }
  const LadderPair pair = {.a = 1,
                           .b = 0,
                           .p_holm = mcnemar_test(flips),
                           .detectable = 0,  // not needed here
                           .ci95 = flips_interval(flips, questions),
                           .questions = questions,
                           .flipped = flips.gained + flips.lost};
  return judge_ladder(steps, {&pair, 1});
}

TEST_F(VerdictSimulation, TwoPointsApartIsSeldomSaturated) {
  for (const int64_t questions : {20, 600, 4000}) {
    for (const double flips : {0.02, 0.06}) {
      const double saturated = share_of(4000, [&](Generator& generator) {
        const double loss = (flips - 0.02) / 2;
        return draw_ladder(generator, questions, 0.7, loss + 0.02, loss, 0.25).kind ==
               LadderKind::kSaturated;
      });
      std::printf("%ld questions, %.0f %% flip, 2 points apart: saturated in %.2f %%\n",
                  static_cast<long>(questions), 100 * flips, 100 * saturated);
      EXPECT_LE(saturated, 0.04);
    }
  }
  // Equal models are recognized as equal, given enough questions.
  const double found = share_of(1000, [&](Generator& generator) {
    return draw_ladder(generator, 4000, 0.7, 0.02, 0.02, 0.25).kind == LadderKind::kSaturated;
  });
  EXPECT_GE(found, 0.8);
}

// How often this many models, each with this accuracy, get this verdict.
double chance_share(Chance wanted, size_t models, int64_t questions, double accuracy) {
  return share_of(4000, [&](Generator& generator) {
    std::binomial_distribution<int64_t> right(questions, accuracy);
    std::vector<LadderStep> steps(models, {.questions = questions, .chance = 0.25});
    for (LadderStep& step : steps) step.right = right(generator);
    return judge_chance(steps) == wanted;
  });
}

TEST_F(VerdictSimulation, GuessersAreSeldomSaidToKnowHoweverManyThereAre) {
  for (const int64_t questions : {20, 600, 4000}) {
    for (const size_t models : {1, 2, 10}) {
      const double above = chance_share(Chance::kAbove, models, questions, 0.25);
      std::printf("%ld questions, %ld guessers: above chance in %.2f %%\n",
                  static_cast<long>(questions), static_cast<long>(models), 100 * above);
      EXPECT_LE(above, 0.032);
      EXPECT_LE(chance_share(Chance::kBelow, models, questions, 0.25), 0.032);
    }
  }
  EXPECT_GE(chance_share(Chance::kAbove, 2, 600, 0.35), 0.9);
}

TEST_F(VerdictSimulation, AtChanceIsSeldomSaidOfModelsTwoPointsAboveIt) {
  for (const int64_t questions : {20, 600, 4000}) {
    for (const size_t models : {1, 2}) {
      const double wrongly = chance_share(Chance::kAt, models, questions, 0.27);
      std::printf("%ld questions, %ld models 2 points above chance: at chance in %.2f %%\n",
                  static_cast<long>(questions), static_cast<long>(models), 100 * wrongly);
      EXPECT_LE(wrongly, 0.032);
    }
  }
  const double found = chance_share(Chance::kAt, 1, 4000, 0.25);
  std::printf("4000 questions, a guesser: at chance in %.1f %%\n", 100 * found);
  EXPECT_GE(found, 0.75) << "and guessers are recognized, given enough questions";
}

TEST_F(VerdictSimulation, TheQuestionsThatWouldDoFindTwoPointsInFourOfFiveTrials) {
  // As in the first of Holm's steps: the least p of this many pairs.
  for (const int64_t comparisons : {1, 3, 10}) {
    for (const double rate : {0.0, 0.05, 0.15}) {
      const auto needed = questions_to_detect(kTellingDifference, rate, comparisons);
      ASSERT_TRUE(needed.has_value());
      const double moved = std::max(rate, kTellingDifference);
      const double found = share_of(4000, [&](Generator& generator) {
        std::vector<double> p_values(static_cast<size_t>(comparisons), 1);
        p_values[0] = mcnemar_test(draw_flips(generator, *needed, (moved + kTellingDifference) / 2,
                                              (moved - kTellingDifference) / 2));
        return holm(p_values)[0] < kLevel;
      });
      std::printf("%ld pairs, %.0f %% flip: %ld questions find 2 points in %.1f %%\n",
                  static_cast<long>(comparisons), 100 * rate, static_cast<long>(*needed),
                  100 * found);
      EXPECT_GE(found, 0.77);
      EXPECT_LE(found, 0.84);
    }
  }
}

}  // namespace
}  // namespace ram
