#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/random.h"
#include "ram/results.h"

namespace ram {
namespace {

using ::testing::HasSubstr;

std::vector<Harm> drawn(const std::vector<double>& deltas) {
  std::vector<Harm> harms;
  harms.reserve(deltas.size());
  for (const double delta : deltas) harms.push_back({.kl = 1 + delta, .delta_nll = delta});
  return harms;
}

TEST(NoiseVerdict, SpreadIsMeanDeviationAndTheIntervalOfAFurtherDraw) {
  const HarmSpread spread = spread_of(drawn({1, 2, 3, 4, 5}), &Harm::delta_nll);
  EXPECT_NEAR(spread.mean, 3, 1e-12);
  EXPECT_NEAR(spread.deviation, std::sqrt(2.5), 1e-12);
  // t of 4 degrees of freedom at 97.5 %: 2.776445.
  EXPECT_NEAR(spread.reach, 2.776445 * std::sqrt(2.5) * std::sqrt(1 + 1.0 / 5), 1e-5);
}

TEST(NoiseVerdict, AFurtherDrawLiesWithinItInNineteenOfTwentyCases) {
  SplitMix64 random(5);
  int within = 0;
  constexpr int kTrials = 4000;
  for (int trial = 0; trial < kTrials; ++trial) {
    std::vector<double> values;
    for (int i = 0; i < 6; ++i) {  // approximately normal: a sum of twelve uniform values
      double sum = -6;
      for (int k = 0; k < 12; ++k) sum += random.uniform();
      values.push_back(sum);
    }
    const double further = values.back();
    values.pop_back();
    const HarmSpread spread = spread_of(drawn(values), &Harm::delta_nll);
    within += std::fabs(further - spread.mean) <= spread.reach ? 1 : 0;
  }
  EXPECT_NEAR(static_cast<double>(within) / kTrials, 0.95, 0.011);  // three standard errors
}

TEST(NoiseVerdict, ComparesWithWhatNoiseDoes) {
  const std::vector<Harm> noise = drawn({0.010, 0.011, 0.009, 0.010, 0.012});
  EXPECT_THAT(noise_verdict({.delta_nll = 0.0105}, noise), HasSubstr("as with noise"));
  EXPECT_THAT(noise_verdict({.delta_nll = 0.001}, noise), HasSubstr("less so than with noise"));
  EXPECT_THAT(noise_verdict({.delta_nll = 0.05}, noise), HasSubstr("more so than with noise"));
  EXPECT_THAT(noise_verdict({.delta_nll = -0.05}, noise), HasSubstr("noise of that size does not"));
  const std::vector<Harm> around = drawn({-0.01, 0.01, -0.02, 0.02, 0.005});
  EXPECT_THAT(noise_verdict({.delta_nll = -0.005}, around), HasSubstr("2 of 5 draws"));
}

}  // namespace
}  // namespace ram
