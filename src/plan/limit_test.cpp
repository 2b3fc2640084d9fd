#include <algorithm>
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "plan_test_support.h"

namespace ram {
namespace {

using ::testing::DoubleNear;

/// By bisection on the level.
double slow_limit(const std::vector<LimitUnit>& units, double bits) {
  const auto used = [&](double level) {
    double sum = 0;
    for (const LimitUnit& unit : units) {
      const double gain = unit.coefficient / unit.weights / level;
      if (gain > 1) sum += unit.weights * std::log2(gain) / 2;
    }
    return sum;
  };
  double low = -2000;
  double high = 200;
  for (int step = 0; step < 200; ++step) {
    const double middle = (low + high) / 2;
    (used(std::exp2(middle)) > bits ? low : high) = middle;
  }
  double loss = 0;
  for (const LimitUnit& unit : units) {
    loss += std::min(unit.coefficient, unit.weights * std::exp2(low));
  }
  return loss;
}

TEST(WaterFilling, IsTheFormulaWhereEveryUnitGetsBits) {
  const std::vector<LimitUnit> units = {{3, 100}, {5, 300}, {0.5, 200}};
  double logs = 0;
  for (const LimitUnit& unit : units) {
    logs += unit.weights / 600 * std::log2(unit.coefficient / unit.weights);
  }
  EXPECT_THAT(water_filling(units, 4.5 * 600) / (600 * std::exp2(-9 + logs)), DoubleNear(1, 1e-12));
}

TEST(WaterFilling, WithoutBitsEverythingIsLost) {
  EXPECT_THAT(water_filling(std::vector<LimitUnit>{{3, 100}, {5, 300}}, 0), DoubleNear(8, 1e-12));
  EXPECT_EQ(water_filling(std::vector<LimitUnit>{{0, 100}}, 10), 0);
  EXPECT_EQ(water_filling({}, 10), 0);
}

TEST(WaterFilling, AgreesWithBisection) {
  std::mt19937 random(1);
  std::uniform_real_distribution<double> log_coefficient(-20, 8);
  std::uniform_int_distribution<int> weights(1, 1'000'000);
  std::uniform_int_distribution<size_t> count(1, 12);
  for (int trial = 0; trial < 300; ++trial) {
    std::vector<LimitUnit> units(count(random));
    double all = 0;
    for (LimitUnit& unit : units) {
      unit = {.coefficient = std::exp(log_coefficient(random)),
              .weights = static_cast<double>(weights(random))};
      all += unit.weights;
    }
    const double bits = all * (trial % 60) / 10.0;
    EXPECT_THAT(water_filling(units, bits) / slow_limit(units, bits), DoubleNear(1, 1e-9))
        << "trial " << trial;
  }
}

TEST(LossLimit, NoAllocationOfIdealCodesIsBelowIt) {
  const PlanningModel model(tiny_experts());
  const Plan plan = model.plan(model.with_budget(model.checkpoint.bytes() / 3)).plan.value();
  const double limit = loss_limit(plan).value();
  // The plan's own bits, spent by ideal codes: 2^(-2b).
  double ideal = 0;
  for (const PlannedUnit& unit : plan.units) {
    if (!unit.prior) continue;
    const double bits = 8 * static_cast<double>(unit.bytes) / static_cast<double>(unit.weights);
    ideal += *unit.prior * std::exp2(-2 * bits);
  }
  EXPECT_GT(limit, 0);
  EXPECT_LE(limit, ideal * (1 + 1e-12));
  EXPECT_GT(limit, ideal / 50);
}

TEST(LossLimit, IsForLossesInSquaresAndForPlansThatQuantize) {
  const PlanningModel model;
  PlanRequest request = model.with_budget(2 * model.checkpoint.bytes());
  EXPECT_FALSE(loss_limit(model.plan(request).plan.value()).has_value());
  request.budget_bytes = model.checkpoint.bytes() / 2;
  EXPECT_TRUE(loss_limit(model.plan(request).plan.value()).has_value());
  request.method = Method::kPublished;
  EXPECT_FALSE(loss_limit(model.plan(request).plan.value()).has_value());
}

}  // namespace
}  // namespace ram
