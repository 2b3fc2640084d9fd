#include <algorithm>
#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "ram/plan.h"
#include "ram/random.h"

#include "plan_test_support.h"
#include "support/sanitizers.h"

namespace ram {
namespace {

using CoefficientMap = std::map<std::string, double>;

class Trust : public ::testing::Test {
 protected:
  Trust() {
    prior_ = model_.with_budget(model_.checkpoint.bytes() / 3);
    usual_ = model_.plan(prior_).plan.value();
  }

  /// True coefficients spread over three orders of magnitude, times noise of the given size.
  CoefficientMap measured(double noise, uint64_t seed) const {
    SplitMix64 truth(1);
    SplitMix64 random(seed);
    CoefficientMap coefficients;
    for (const PlannedUnit& unit : usual_.units) {
      const double value = std::exp(7 * (truth.uniform() - 0.5));
      if (unit.prior) coefficients[unit.name] = value * std::exp(noise * (random.uniform() - 0.5));
    }
    return coefficients;
  }

  bool agree(const CoefficientMap& even, const CoefficientMap& odd) const {
    return halves_agree(model_.input(), prior_, usual_, even, odd);
  }

  PlanningModel model_{tiny_experts()};
  PlanRequest prior_;
  Plan usual_;
};

TEST_F(Trust, CoefficientsThatBothHalvesSayAreTrusted) {
  EXPECT_TRUE(agree(measured(0, 2), measured(0, 2)));
  for (const uint64_t seed : {2U, 4U, 6U}) {
    if (RAM_SANITIZED && seed > 2) break;
    EXPECT_TRUE(agree(measured(0.5, seed), measured(0.5, seed + 1))) << seed;
  }
}

TEST_F(Trust, CoefficientsOfWhichHalvesSayDifferentThingsAreNot) {
  int trusted = 0;
  constexpr int kTrials = RAM_SANITIZED ? 2 : 20;  // the optimized build tries all
  for (int trial = 0; trial < kTrials; ++trial) {
    CoefficientMap even = measured(0, 1);
    CoefficientMap odd = even;
    // Any unit may have any coefficient: the halves have nothing in common.
    std::vector<double> values;
    for (const auto& [name, value] : even) values.push_back(value);
    SplitMix64 random(static_cast<uint64_t>(trial) + 100);
    for (CoefficientMap* half : {&even, &odd}) {
      for (size_t i = values.size() - 1; i > 0; --i) {
        const auto j = static_cast<size_t>(random.uniform() * static_cast<double>(i + 1));
        std::swap(values[i], values[j]);
      }
      size_t at = 0;
      for (auto& [name, value] : *half) value = values[at++];
    }
    trusted += agree(even, odd) ? 1 : 0;
  }
  EXPECT_LE(trusted, kTrials / 4);
}

TEST_F(Trust, ThePriorsThemselvesAreNoBetterThanThePriors) {
  CoefficientMap priors;
  for (const PlannedUnit& unit : usual_.units) {
    if (unit.prior) priors[unit.name] = *unit.prior;
  }
  EXPECT_FALSE(agree(priors, priors));
}

}  // namespace
}  // namespace ram
