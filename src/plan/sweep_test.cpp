// The curve of loss against size, and explanations of single units.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "plan_test_support.h"

namespace ram {
namespace {

TEST(Sweep, MoreBytesNeverLoseMoreAndTheEndsAreTheSmallestSafeAndTheUnquantizedModel) {
  const PlanningModel model(tiny_experts());
  for (const Method method : {Method::kSquared, Method::kPublished}) {
    PlanRequest request;
    request.method = method;
    const Sweep sweep = sweep_plans(model.input(), request, 24);
    ASSERT_GE(sweep.points.size(), 12U);
    EXPECT_EQ(sweep.points.back().loss, 0);
    for (size_t i = 1; i < sweep.points.size(); ++i) {
      EXPECT_GT(sweep.points[i].total_bytes, sweep.points[i - 1].total_bytes);
      if (method == Method::kSquared) {
        EXPECT_LT(sweep.points[i].loss, sweep.points[i - 1].loss);
        EXPECT_GT(sweep.points[i].loss_saved_per_mb, 0);
      }
    }
    EXPECT_GT(sweep.knee, 0);
    EXPECT_LT(sweep.knee, static_cast<int>(sweep.points.size()) - 1);
  }
  PlanRequest request;
  EXPECT_EQ(sweep_plans(model.input(), request, 5).points.front().total_bytes,
            model.min_safe_bytes());
}

TEST(Sweep, APointIsThePlanOfABudgetOfItsSize) {
  const PlanningModel model(tiny_experts());
  const Sweep sweep = sweep_plans(model.input(), {}, 7);
  for (const SweepPoint& point : sweep.points) {
    // A few bytes more: the point leaves no room for the digits of its own numbers.
    const PlanResult result = model.plan(model.with_budget(point.total_bytes + 64));
    ASSERT_TRUE(result.plan.has_value());
    EXPECT_LE(result.plan->objective, point.loss * (1 + 1e-9) + 1e-12);
  }
}

TEST(Explain, SaysForEveryUnitWhyAndMarksExactlyOneChoice) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 3);
  request.pins = {{"lm_head", AffineFormat{6, 32}}};
  const Plan plan = model.plan(request).plan.value();
  for (const PlannedUnit& unit : plan.units) {
    const UnitExplanation explanation = explain_unit(model.input(), plan, unit.name);
    EXPECT_FALSE(explanation.reason.empty());
    EXPECT_EQ(explanation.kept, !unit.prior.has_value());
    EXPECT_EQ(std::count_if(explanation.choices.begin(), explanation.choices.end(),
                            [](const auto& choice) { return choice.chosen; }),
              1);
  }
  EXPECT_EQ(explain_unit(model.input(), plan, "lm_head").reason, "Fixed by --pin.");
  EXPECT_THAT(explain_unit(model.input(), plan, "model.norm").reason,
              ::testing::HasSubstr("never quantized"));
}

TEST(Explain, AMisspeltUnitIsAnsweredWithTheNearestName) {
  const PlanningModel model;
  const Plan plan = model.plan(model.with_budget(model.checkpoint.bytes())).plan.value();
  try {
    (void)explain_unit(model.input(), plan, "model.layers.1.mlp.dwn_proj");
    FAIL() << "found";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUsage);
    EXPECT_THAT(error.what(), ::testing::HasSubstr("model.layers.1.mlp.down_proj"));
  }
}

}  // namespace
}  // namespace ram
