// Guarantees of a plan: the budget to the byte, the optimum within the units' share, safety.
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "objective.h"
#include "plan_test_support.h"
#include "support/sanitizers.h"

namespace ram {
namespace {

TEST(MakePlan, NeverTakesMoreThanTheBudgetAndLeavesLittleUnused) {
  const PlanningModel model(tiny_experts());
  const int64_t least = model.min_safe_bytes();
  std::mt19937_64 random(7);
  std::uniform_int_distribution<int64_t> budgets(least, 2 * model.checkpoint.bytes());
  constexpr int kBudgets = RAM_SANITIZED ? 6 : 40;  // the optimized build tries all
  for (int i = 0; i < kBudgets; ++i) {
    const int64_t budget = budgets(random);
    const PlanResult result = model.plan(model.with_budget(budget));
    ASSERT_TRUE(result.plan.has_value()) << budget;
    const Plan& plan = *result.plan;
    EXPECT_LE(plan.total_bytes, budget);
    EXPECT_EQ(layout_plan(model.checkpoint, plan).total_bytes(), plan.total_bytes);
    const int64_t room = budget - plan.unit_budget_bytes - (plan.total_bytes - plan.weight_bytes);
    EXPECT_GE(room, 0);
    EXPECT_LE(room, 65536 + budget / 1000) << "reserved and not used";
    EXPECT_LE(plan.weight_bytes, plan.unit_budget_bytes);
  }
}

TEST(MakePlan, TheSmallestSafeSizeWorksAndAByteLessDoesNot) {
  for (const char* family : {"llama", "qwen3_moe", "qwen2_moe", "mixtral"}) {
    const PlanningModel model({.model_type = family});
    const int64_t least = model.min_safe_bytes();
    const PlanResult enough = model.plan(model.with_budget(least));
    ASSERT_TRUE(enough.plan.has_value()) << family;
    EXPECT_EQ(enough.plan->total_bytes, least) << family;
    const PlanResult short_by_one = model.plan(model.with_budget(least - 1));
    EXPECT_FALSE(short_by_one.plan.has_value()) << family;
    EXPECT_EQ(short_by_one.min_safe_bytes, least) << family;
  }
}

TEST(MakePlan, IsTheOptimumOfItsOwnUnitBudget) {
  const PlanningModel model(tiny_experts());
  const int64_t least = model.min_safe_bytes();
  for (const int64_t budget : {least + 5000, least * 2, least * 3}) {
    const Plan plan = model.plan(model.with_budget(budget)).plan.value();
    const Objective objective = make_objective(model.input(), plan.request);
    const Knapsack knapsack = make_knapsack(objective, false).knapsack;
    EXPECT_NEAR(plan.objective, solve_knapsack(knapsack, plan.unit_budget_bytes).loss,
                1e-12 * plan.objective);
    EXPECT_EQ(plan.lower_bound, plan.objective) << "proven";
  }
}

TEST(MakePlan, AMenuMinBitsAndTheVetoLeaveOutWhatTheyName) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 3);
  request.menu = {{4, 64}, {3, 32}, {2, 32}};
  request.min_bits = 3;
  const Plan plan = model.plan(request).plan.value();
  EXPECT_EQ(plan.menu, (std::vector<AffineFormat>{{3, 32}, {4, 64}}));
  const Objective objective = make_objective(model.input(), request);
  for (size_t u = 0; u < plan.units.size(); ++u) {
    if (!plan.units[u].format) continue;
    EXPECT_THAT(plan.menu, ::testing::Contains(*plan.units[u].format));
    EXPECT_GE(find_candidate(objective.units[u], plan.units[u].format)->sqnr_db, 9);
  }
  request.min_bits = 5;
  EXPECT_THROW(model.plan(request), Error);
}

TEST(MakePlan, LiftingTheVetoReachesBelowTheSafeSizeAndSaysWhatItLifted) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.min_safe_bytes() - 8000);
  EXPECT_FALSE(model.plan(request).plan.has_value());
  request.allow_unsafe = true;
  const PlanResult result = model.plan(request);
  ASSERT_TRUE(result.plan.has_value());
  EXPECT_THAT(result.notes, ::testing::Contains(::testing::HasSubstr("below 9 dB")));
  EXPECT_EQ(result.min_safe_bytes, model.min_safe_bytes());
}

TEST(MakePlan, KeptRolesStayUnquantizedWithoutAPriorAndPinsOverrideThem) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 2);
  request.keep = {Role::kRouter, Role::kNorm, Role::kEmbedding};
  request.pins = {{"*layers.1.mlp.gate", AffineFormat{8, 64}}, {"lm_head", std::nullopt}};
  const Plan plan = model.plan(request).plan.value();
  for (const PlannedUnit& unit : plan.units) {
    if (unit.name == "model.layers.1.mlp.gate") {
      EXPECT_EQ(unit.format, (AffineFormat{8, 64}));
      EXPECT_EQ(unit.prior, 8);
    } else if (unit.name.ends_with("mlp.gate") || unit.name.ends_with("norm") ||
               unit.name == "model.embed_tokens") {
      EXPECT_FALSE(unit.format.has_value()) << unit.name;
      EXPECT_FALSE(unit.prior.has_value()) << unit.name;
    } else if (unit.name == "lm_head") {
      EXPECT_FALSE(unit.format.has_value());
      EXPECT_EQ(unit.prior, 100);
    } else {
      const bool between = unit.name.find("layers.1.") != std::string::npos;
      const double expected = between ? 1 : 1.5;
      EXPECT_EQ(unit.prior, expected) << unit.name;
    }
  }
}

TEST(MakePlan, APinThatMatchesNothingOrCannotBeStoredIsRefused) {
  const PlanningModel model;  // rows of 64: no group of 128
  PlanRequest request = model.with_budget(model.checkpoint.bytes());
  request.pins = {{"no.such.unit", AffineFormat{4, 64}}};
  EXPECT_THROW(model.plan(request), Error);
  request.pins = {{"*q_proj", AffineFormat{4, 128}}};
  EXPECT_THROW(model.plan(request), Error);
  request.pins = {{"model.norm", AffineFormat{4, 64}}};
  EXPECT_THROW(model.plan(request), Error);
  request.pins = {{"*layers.0*", AffineFormat{4, 64}}};  // its norms are skipped
  EXPECT_TRUE(model.plan(request).plan.has_value());
}

TEST(MakePlan, ThePublishedMethodUsesItsMenuItsCurvesAndItsFirstPower) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 2);
  request.method = Method::kPublished;
  const Plan plan = model.plan(request).plan.value();
  EXPECT_EQ(plan.menu, (std::vector<AffineFormat>{
                           {4, 32}, {4, 64}, {4, 128}, {6, 32}, {6, 64}, {8, 64}, {8, 128}}));
  double loss = 0;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    if (!plan.units[u].format) continue;
    const int index = format_index(*plan.units[u].format);
    EXPECT_EQ(plan.units[u].nrmse, model.stored.units[u].nrmse(index, Encoder::kMlx));
    loss += *plan.units[u].prior * model.simulated.units[u].nrmse(index, Encoder::kSimulated);
  }
  EXPECT_NEAR(plan.objective, loss, 1e-12 * loss);
  EXPECT_LE(plan.lower_bound, plan.objective);
}

TEST(MakePlan, UniformFollowsTheFamilysOwnRuleAndLeavesRowsThatTheGroupDoesNotDivide) {
  testing::TinyModel tiny = tiny_experts();
  tiny.expert_width = 64;  // down_proj has rows of 64
  const PlanningModel model(tiny);
  PlanRequest request;
  request.uniform = AffineFormat{4, 128};
  const Plan plan = model.plan(request).plan.value();
  for (const PlannedUnit& unit : plan.units) {
    if (unit.name.ends_with("switch_mlp.down_proj") || unit.name.ends_with("norm")) {
      EXPECT_FALSE(unit.format.has_value()) << unit.name;
    } else if (unit.name.ends_with("mlp.gate")) {
      EXPECT_EQ(unit.format, (AffineFormat{8, 64})) << unit.name;
    } else {
      EXPECT_EQ(unit.format, (AffineFormat{4, 128})) << unit.name;
    }
  }
  EXPECT_EQ(plan.budget_bytes, plan.total_bytes);
  EXPECT_LE(plan.lower_bound, plan.objective);
}

TEST(MakePlan, AFormatWhoseScaleOverflowsIsNotUsedEvenWithoutTheVeto) {
  PlanningModel model(tiny_experts());
  for (UnitCurve& curve : model.stored.units) {
    curve.pooled.squared_error[0] = std::numeric_limits<double>::infinity();
    for (Distortion& part : curve.parts) part.squared_error[0] = curve.pooled.squared_error[0];
  }
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 4);
  request.allow_unsafe = true;
  const Plan plan = model.plan(request).plan.value();
  for (const PlannedUnit& unit : plan.units) EXPECT_NE(unit.format, UnitFormat(kAffineFormats[0]));
}

TEST(MakePlan, BitsPerWeightBoundsTheTensorsAlone) {
  const PlanningModel model(tiny_experts());
  PlanRequest request;
  for (const double bits : {6.0, 7.5, 9.0}) {
    request.bits_per_weight = bits;
    const Plan plan = model.plan(request).plan.value();
    EXPECT_LE(plan.bits_per_weight, bits);
    EXPECT_GT(plan.bits_per_weight, bits - 0.2);
    EXPECT_EQ(layout_plan(model.checkpoint, plan).total_bytes(), plan.total_bytes);
  }
  request.bits_per_weight = 0.5;
  EXPECT_FALSE(model.plan(request).plan.has_value());
  request.uniform = AffineFormat{4, 64};
  EXPECT_THROW(model.plan(request), Error) << "two targets";
}

}  // namespace
}  // namespace ram
