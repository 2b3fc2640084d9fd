// Accuracies: exact tests against scipy's, and the power against enumeration.
#include <cmath>
#include <fstream>
#include <random>

#include <gtest/gtest.h>

#include "ram/json.h"
#include "ram/statistics.h"

namespace ram {
namespace {

using Json = nlohmann::json;

Json accuracy_vectors() {
  std::ifstream file(RAM_SOURCE_DIR "/tests/vectors/statistics/accuracy.json");
  return Json::parse(file);
}

TEST(Accuracy, ErrorsTestsAndPowerAreScipys) {
  const Json all = accuracy_vectors();
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
    const Interval share = share_interval(flips.gained, questions);
    EXPECT_NEAR(share.low, entry.at("gained_ci95").at(0).get<double>(), 1e-9) << entry.dump();
    EXPECT_NEAR(share.high, entry.at("gained_ci95").at(1).get<double>(), 1e-9) << entry.dump();
    const Interval apart = flips_interval(flips, questions);
    EXPECT_NEAR(apart.low, entry.at("flips_ci95").at(0).get<double>(), 1e-6) << entry.dump();
    EXPECT_NEAR(apart.high, entry.at("flips_ci95").at(1).get<double>(), 1e-6) << entry.dump();
  }
}

TEST(Accuracy, AShareOfAllOrNothingHasAnIntervalOfSomeWidthWithinZeroAndOne) {
  for (const int64_t n : {1, 2, 20, 1000, 1'000'000}) {
    const double none = share_interval(0, n).high;
    EXPECT_EQ(share_interval(0, n).low, 0);
    EXPECT_EQ(share_interval(n, n).high, 1);
    EXPECT_NEAR(share_interval(n, n).low, 1 - none, 1e-12);
    EXPECT_NEAR(none, 1 - std::pow(0.025, 1 / static_cast<double>(n)), 1e-9);
    for (const int64_t k : {int64_t{0}, n / 3, n / 2, n}) {
      const Interval found = share_interval(k, n);
      EXPECT_TRUE(0 <= found.low && found.high <= 1 && found.low < found.high);
      EXPECT_TRUE(found.holds(static_cast<double>(k) / static_cast<double>(n)));
    }
  }
}

TEST(Accuracy, WithoutAFlipTheDifferenceIsNotKnownToBeZero) {
  const Interval same = flips_interval({}, 20);
  EXPECT_NEAR(same.high, 0.1611, 1e-3) << "z^2 / (n + z^2)";
  EXPECT_EQ(same.low, -same.high);
  EXPECT_LT(flips_interval({}, 2000).high, 0.002);
  for (const Flips flips : {Flips{20, 0}, Flips{0, 20}, Flips{10, 10}, Flips{3, 0}}) {
    const Interval found = flips_interval(flips, 20);
    const double middle = static_cast<double>(flips.gained - flips.lost) / 20;
    EXPECT_TRUE(-1 <= found.low && found.high <= 1 && found.low < found.high);
    EXPECT_TRUE(found.holds(middle));
    const Interval swapped = flips_interval({flips.lost, flips.gained}, 20);
    EXPECT_NEAR(swapped.low, -found.high, 1e-9);
  }
}

TEST(Accuracy, TheQuestionsThatAreNeededDetectTheDifference) {
  for (const double rate : {0.0, 0.02, 0.1, 0.5}) {
    const std::optional<int64_t> needed = questions_to_detect(0.02, rate);
    ASSERT_TRUE(needed.has_value());
    const double moved = std::max(rate, 0.02);
    EXPECT_GE(mcnemar_power(*needed, (moved + 0.02) / 2, (moved - 0.02) / 2), 0.8);
    EXPECT_LT(mcnemar_power(*needed * 9 / 10, (moved + 0.02) / 2, (moved - 0.02) / 2), 0.8);
  }
  EXPECT_LT(questions_to_detect(0.02, 0.02), questions_to_detect(0.02, 0.2));
  EXPECT_FALSE(questions_to_detect(1e-4, 1).has_value());
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

}  // namespace
}  // namespace ram
