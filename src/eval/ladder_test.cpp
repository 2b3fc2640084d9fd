// Verdicts of a benchmark on a ladder of sizes.
#include <gtest/gtest.h>

#include "ram/answers.h"
#include "ram/statistics.h"

namespace ram {
namespace {

LadderStep step(double bits, int64_t right, int64_t questions, double chance = 0.25) {
  return {.bits = bits, .right = right, .questions = questions, .chance = chance};
}

LadderPair pair(int a, int b, double p, const Flips& flips, int64_t questions) {
  return {.a = a,
          .b = b,
          .p_holm = p,
          .detectable = detectable_difference(questions, flips.gained + flips.lost),
          .ci95 = flips_interval(flips, questions),
          .questions = questions,
          .flipped = flips.gained + flips.lost};
}

TEST(Ladder, SaturatedWhereEveryPairIsKnownToLieWithinTwoPoints) {
  const std::vector<LadderStep> steps = {step(16, 2800, 4000), step(4, 2810, 4000),
                                         step(3, 2795, 4000)};
  std::vector<LadderPair> pairs = {pair(1, 0, 1, {30, 20}, 4000), pair(2, 0, 1, {20, 25}, 4000),
                                   pair(2, 1, 0.3, {20, 35}, 4000)};
  LadderVerdict verdict = judge_ladder(steps, pairs);
  EXPECT_EQ(verdict.kind, LadderKind::kSaturated);
  EXPECT_EQ(verdict.beside_chance, Chance::kAbove);
  EXPECT_NEAR(verdict.spread, 15.0 / 4000, 1e-12);
  EXPECT_EQ(verdict.best, 1);
  EXPECT_EQ(verdict.worst, 2);
  EXPECT_LT(verdict.most_apart, 0.02);
  EXPECT_FALSE(verdict.questions_needed);

  // One pair with a possibly larger difference is enough against it.
  pairs[1].ci95 = {-0.021, 0.01};
  EXPECT_EQ(judge_ladder(steps, pairs).kind, LadderKind::kOpen);

  pairs[1].p_holm = 0.01;
  pairs[2].p_holm = 0.001;
  verdict = judge_ladder(steps, pairs);
  EXPECT_EQ(verdict.kind, LadderKind::kTells);
  ASSERT_TRUE(verdict.closest_told.has_value());
  EXPECT_EQ(verdict.closest_told->b, 1) << "3 from 4 bits is the finer distinction";
}

TEST(Ladder, TellsNothingBesideAnIntervalThatHoldsZero) {
  const std::vector<LadderStep> steps = {step(16, 2800, 4000), step(4, 2880, 4000)};
  LadderPair apart = pair(1, 0, 0.001, {180, 100}, 4000);
  EXPECT_EQ(judge_ladder(steps, {&apart, 1}).kind, LadderKind::kTells);
  apart.ci95 = {-0.001, 0.041};  // widened over subjects
  EXPECT_EQ(judge_ladder(steps, {&apart, 1}).kind, LadderKind::kOpen);
}

TEST(Ladder, TwentyQuestionsAreUnderpoweredHoweverEqualTheAnswers) {
  for (const int64_t right : {0, 5, 12, 20}) {
    const std::vector<LadderStep> steps = {step(16, right, 20), step(4, right, 20)};
    const LadderVerdict verdict = judge_ladder(steps, std::vector{pair(1, 0, 1, {}, 20)});
    EXPECT_EQ(verdict.kind, LadderKind::kUnderpowered) << right;
    EXPECT_EQ(verdict.beside_chance, right == 0   ? Chance::kBelow  // up to 16.8 %
                                     : right <= 5 ? Chance::kUnknown
                                                  : Chance::kAbove)
        << right;
    ASSERT_TRUE(verdict.questions_needed.has_value());
    EXPECT_GT(*verdict.questions_needed, 250);
    EXPECT_LT(*verdict.questions_needed, 1000) << "six flips in one direction are enough";
  }
}

TEST(Ladder, AtChanceWhereNoModelCanBeTwoPointsAboveIt) {
  const auto ladder = [](int64_t first, int64_t second) {
    const std::vector<LadderStep> steps = {step(16, first, 4000), step(4, second, 4000)};
    return judge_ladder(steps, std::vector{pair(1, 0, 1, {20, 25}, 4000)});
  };
  EXPECT_EQ(ladder(1010, 1005).kind, LadderKind::kAtChance);
  EXPECT_EQ(ladder(1010, 1005).beside_chance, Chance::kAt);
  EXPECT_EQ(ladder(900, 895).kind, LadderKind::kAtChance) << "below it is no better";
  EXPECT_EQ(ladder(900, 895).beside_chance, Chance::kBelow);
  EXPECT_EQ(ladder(1000, 895).beside_chance, Chance::kAt) << "one of them may just guess";
  EXPECT_EQ(ladder(1100, 1005).kind, LadderKind::kSaturated) << "the first knows something";
  EXPECT_EQ(ladder(1010, 1005).chance, 0.25);
}

TEST(Ladder, FewQuestionsDoNotShowThatModelsGuess) {
  const auto of = [](int64_t right, int64_t questions, double chance, size_t models = 1) {
    return judge_chance(std::vector(models, step(4, right, questions, chance)));
  };
  EXPECT_EQ(of(5, 5, 0.5), Chance::kUnknown) << "all right: the interval begins at 0.478";
  EXPECT_EQ(of(6, 6, 0.5), Chance::kAbove);
  EXPECT_EQ(of(6, 6, 0.5, 10), Chance::kUnknown) << "one of ten guessers may be as lucky";
  EXPECT_EQ(of(150, 600, 0.25), Chance::kUnknown) << "up to 28.7 % is possible";
  EXPECT_EQ(of(1000, 4000, 0.25), Chance::kAt);
  EXPECT_EQ(of(1029, 4000, 0.25), Chance::kUnknown) << "up to 27.1 %";
  EXPECT_EQ(of(945, 4000, 0.25), Chance::kBelow) << "up to 24.97 %";
  EXPECT_EQ(of(947, 4000, 0.25), Chance::kAt) << "up to 25.02 %";
  EXPECT_EQ(chance_text(Chance::kBelow, 0.25, 4000), "below chance (25 %)");
}

TEST(Ladder, OpenWhereTwoPointsCouldHaveBeenSeenAndMoreIsNotExcluded) {
  const std::vector<LadderStep> steps = {step(16, 1400, 2000), step(4, 1370, 2000)};
  LadderPair apart = pair(1, 0, 0.06, {35, 65}, 2000);
  apart.detectable = 0.0199;
  LadderVerdict verdict = judge_ladder(steps, {&apart, 1});
  EXPECT_EQ(verdict.kind, LadderKind::kOpen);
  EXPECT_GT(verdict.most_apart, kTellingDifference);
  EXPECT_FALSE(verdict.questions_needed);
  apart.detectable = 0.0201;
  verdict = judge_ladder(steps, {&apart, 1});
  EXPECT_EQ(verdict.kind, LadderKind::kUnderpowered);
  EXPECT_GT(*verdict.questions_needed, 900);
}

TEST(Ladder, ThePairOfWhichLeastIsSeenDecidesWhatIsUnderpowered) {
  // The best and the worst differ in few flips, the middle one from both in many.
  const std::vector<LadderStep> steps = {step(16, 1420, 2000), step(4, 1410, 2000),
                                         step(3, 1400, 2000)};
  const std::vector<LadderPair> pairs = {pair(1, 0, 1, {145, 155}, 2000),
                                         pair(2, 0, 1, {10, 30}, 2000),
                                         pair(2, 1, 1, {145, 155}, 2000)};
  ASSERT_LT(pairs[1].detectable, kTellingDifference);
  const LadderVerdict verdict = judge_ladder(steps, pairs);
  EXPECT_EQ(verdict.best, 0);
  EXPECT_EQ(verdict.worst, 2);
  EXPECT_EQ(verdict.kind, LadderKind::kUnderpowered);
  EXPECT_EQ(verdict.detectable, pairs[0].detectable);
  EXPECT_EQ(verdict.questions_needed, questions_to_detect(kTellingDifference, 0.15));
}

TEST(Ladder, WhereNoPairShowsAnythingTheOneWithMostFlipsSaysHowManyQuestionsWould) {
  const std::vector<LadderStep> steps(3, step(4, 3, 5));
  const std::vector<LadderPair> pairs = {pair(1, 0, 1, {}, 5), pair(2, 0, 1, {1, 1}, 5),
                                         pair(2, 1, 1, {}, 5)};
  const LadderVerdict verdict = judge_ladder(steps, pairs);
  EXPECT_EQ(verdict.detectable, 1);
  EXPECT_EQ(verdict.questions_needed, questions_to_detect(kTellingDifference, 0.4));
}

}  // namespace
}  // namespace ram
