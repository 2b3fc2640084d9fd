// Accuracies: exact tests against scipy's, and what the power says against counting.
#include <cmath>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "ram/json.h"
#include "ram/statistics.h"

namespace ram {
namespace {

using Json = nlohmann::json;

Json vectors() {
  std::ifstream file(RAM_SOURCE_DIR "/tests/vectors/statistics/accuracy.json");
  return Json::parse(file);
}

TEST(Accuracy, ErrorsTestsAndPowerAreScipys) {
  const Json all = vectors();
  ASSERT_GE(all.size(), 8U);
  for (const Json& entry : all) {
    const auto questions = entry.at("questions").get<int64_t>();
    const Flips flips{.gained = entry.at("gained").get<int64_t>(),
                      .lost = entry.at("lost").get<int64_t>()};
    EXPECT_NEAR(accuracy_error(flips.gained, questions), entry.at("error").get<double>(), 1e-12);
    const double p = entry.at("mcnemar_p").get<double>();
    EXPECT_NEAR(mcnemar_test(flips), p, 1e-9 * p);
    const double gain = entry.at("gain_rate").get<double>();
    const double loss = entry.at("loss_rate").get<double>();
    EXPECT_NEAR(mcnemar_power(questions, gain, loss), entry.at("power").get<double>(), 1e-9);
    EXPECT_NEAR(detectable_difference(questions, flips.gained + flips.lost),
                entry.at("detectable").get<double>(), 1e-5)
        << entry.dump();
  }
}

TEST(Accuracy, MoreQuestionsDetectLessAndMoreFlipsHideMore) {
  double before = 1;
  for (const int64_t questions : {20, 100, 600, 1172, 14'042}) {
    const double now = detectable_difference(questions, questions / 20);
    EXPECT_LT(now, before);
    EXPECT_GE(now, 5.5 / static_cast<double>(questions));
    before = now;
  }
  EXPECT_LT(detectable_difference(1172, 40), detectable_difference(1172, 120));
  EXPECT_EQ(detectable_difference(5, 0), 1) << "five flips never reach the level";
}

TEST(Accuracy, ALadderIsSaturatedWhereNoPairDiffersAndTheSpreadIsBelowWhatCanBeSeen) {
  const std::vector<LadderStep> steps = {{.bits = 16, .accuracy = 0.70},
                                         {.bits = 4.5, .accuracy = 0.71},
                                         {.bits = 3, .accuracy = 0.69}};
  std::vector<LadderPair> pairs = {{.a = 0, .b = 1, .p_holm = 1, .detectable = 0.03},
                                   {.a = 0, .b = 2, .p_holm = 0.6, .detectable = 0.04},
                                   {.a = 2, .b = 1, .p_holm = 0.3, .detectable = 0.05}};
  LadderVerdict verdict = judge_ladder(steps, pairs);
  EXPECT_TRUE(verdict.saturated());
  EXPECT_NEAR(verdict.spread, 0.02, 1e-12);
  EXPECT_EQ(verdict.best, 1);
  EXPECT_EQ(verdict.worst, 2);
  EXPECT_EQ(verdict.detectable, 0.05);

  pairs[2].detectable = 0.01;  // could have been seen, and was not
  EXPECT_FALSE(judge_ladder(steps, pairs).saturated());

  pairs[1].p_holm = 0.01;
  pairs[2].p_holm = 0.001;
  verdict = judge_ladder(steps, pairs);
  EXPECT_FALSE(verdict.saturated());
  ASSERT_TRUE(verdict.closest_told.has_value());
  EXPECT_EQ(verdict.closest_told->b, 1) << "3 from 4.5 bits is the finer distinction";
}

}  // namespace
}  // namespace ram
