// Effects of other budgets, and each role's share of a plan.
#include <numeric>

#include <gtest/gtest.h>

#include "ram/what_if_json.h"

#include "plan_test_support.h"

namespace ram {
namespace {

/// A plan of a model that is larger than a few megabytes, so that one more makes a difference.
class WhatIf : public ::testing::Test {
 protected:
  PlanningModel model_{
      {.hidden = 256, .layers = 4, .heads = 2, .intermediate = 2048, .vocab = 4096}};
  Plan plan_ = model_.plan(model_.with_budget(model_.checkpoint.bytes() / 4)).plan.value();
};

TEST_F(WhatIf, AMegabyteMoreIsThePlanOfThatBudget) {
  const std::optional<OtherPlan> next = next_megabyte(model_.input(), plan_);
  ASSERT_TRUE(next.has_value());
  const Plan larger = model_.plan(model_.with_budget(plan_.budget_bytes + 1000000)).plan.value();
  EXPECT_DOUBLE_EQ(next->loss, larger.objective);
  EXPECT_LT(next->loss, plan_.objective);
  ASSERT_FALSE(next->changes.empty());
  int64_t bytes = 0;
  for (const FormatChange& change : next->changes) {
    EXPECT_EQ(change.from, plan_.units[change.unit].format);
    EXPECT_EQ(change.to, larger.units[change.unit].format);
    EXPECT_NE(change.from, change.to);
    bytes += change.bytes;
  }
  EXPECT_EQ(bytes, larger.weight_bytes - plan_.weight_bytes);
}

TEST_F(WhatIf, AUniformPlanHasNoNextMegabyte) {
  PlanRequest request;
  request.uniform = AffineFormat{.bits = 4, .group_size = 64};
  request.method = Method::kUniform;
  EXPECT_FALSE(next_megabyte(model_.input(), model_.plan(request).plan.value()));
}

TEST_F(WhatIf, WhatIsOverABudgetIsTakenBackByThePlanOfIt) {
  EXPECT_FALSE(within_budget(model_.input(), plan_));
  Plan larger = plan_;
  for (PlannedUnit& unit : larger.units) {
    if (unit.format) unit.format = AffineFormat{.bits = 8, .group_size = 32};
  }
  larger = complete_plan(model_.input(), larger, "plan", OverBudget::kReturn);
  const std::optional<OtherPlan> within = within_budget(model_.input(), larger);
  ASSERT_TRUE(within.has_value());
  EXPECT_DOUBLE_EQ(within->loss, plan_.objective);
  const int64_t bytes =
      std::accumulate(within->changes.begin(), within->changes.end(), int64_t{0},
                      [](int64_t sum, const FormatChange& change) { return sum + change.bytes; });
  EXPECT_LE(bytes, larger.budget_bytes - larger.total_bytes + 65536);
  EXPECT_LT(bytes, 0);
}

TEST_F(WhatIf, UnitsAreInTheOrderOfTheirLossPerByte) {
  const std::vector<size_t> order = by_loss_per_byte(plan_);
  ASSERT_GT(order.size(), 3U);
  const auto density = [&](size_t u) {
    return unit_loss(plan_, plan_.units[u]) / static_cast<double>(plan_.units[u].bytes);
  };
  for (size_t i = 1; i < order.size(); ++i) EXPECT_GE(density(order[i - 1]), density(order[i]));
  for (const size_t u : order) EXPECT_GT(unit_loss(plan_, plan_.units[u]), 0);
}

TEST_F(WhatIf, RolesShareAllUnitsAndBytes) {
  RoleShare all;
  for (const auto& [role, share] : role_shares(model_.checkpoint, plan_)) {
    int64_t formats = 0;
    for (const auto& [name, count] : share.formats) formats += count;
    EXPECT_EQ(formats, share.units) << role_name(role);
    all.units += share.units;
    all.bytes += share.bytes;
    all.weights += share.weights;
  }
  EXPECT_EQ(all.units, std::ssize(plan_.units));
  EXPECT_EQ(all.bytes, plan_.weight_bytes);
  EXPECT_EQ(all.weights, model_.checkpoint.weights());
}

TEST_F(WhatIf, TheEstimateOfTheSmallestSafeSizeIsNearIt) {
  const PlanRequest request;
  EXPECT_EQ(default_min_safe_bytes(model_.checkpoint, model_.stored), model_.min_safe_bytes());
  const auto estimate =
      static_cast<double>(estimate_min_safe_bytes(model_.checkpoint, request.keep));
  EXPECT_GT(estimate, 0.5 * static_cast<double>(model_.min_safe_bytes()));
  EXPECT_LT(estimate, 2.0 * static_cast<double>(model_.min_safe_bytes()));
  EXPECT_TRUE(is_kept(model_.checkpoint.units.back(), {model_.checkpoint.units.back().role}));
}

TEST_F(WhatIf, DocumentsSayWhatThePlanHas) {
  const std::vector<size_t> units = by_loss_per_byte(plan_);
  const auto next = next_megabyte(model_.input(), plan_);
  const auto document = explanation_json(model_.input(), plan_, units, next, std::nullopt);
  EXPECT_EQ(document.at("objective"), plan_.objective);
  ASSERT_EQ(document.at("units").size(), units.size());
  const PlannedUnit& worst = plan_.units[units.front()];
  EXPECT_EQ(document.at("units").at(0).at("name"), worst.name);
  EXPECT_EQ(document.at("units").at(0).at("loss_per_mb"),
            unit_loss(plan_, worst) * 1e6 / static_cast<double>(worst.bytes));
  EXPECT_EQ(document.at("next_mb").at("steps").size(), next->changes.size());
  EXPECT_FALSE(document.contains("over_bytes"));
  Plan over = plan_;
  over.budget_bytes = over.total_bytes - 1;
  const auto too_large = explanation_json(model_.input(), over, {}, std::nullopt, std::nullopt);
  EXPECT_EQ(too_large.at("over_bytes"), 1);
  EXPECT_TRUE(too_large.at("within_budget").is_null());
  EXPECT_TRUE(too_large.at("next_mb").is_null());
}

TEST_F(WhatIf, AnExplanationsDocumentHasItsChoices) {
  const UnitExplanation why = explain_unit(model_.input(), plan_, plan_.units.front().name);
  const auto document = explanation_json(why, plan_.dtype);
  EXPECT_EQ(document.at("name"), plan_.units.front().name);
  ASSERT_EQ(document.at("choices").size(), why.choices.size());
  for (size_t i = 0; i < why.choices.size(); ++i) {
    EXPECT_EQ(document.at("choices").at(i).at("chosen"), why.choices[i].chosen);
    EXPECT_EQ(document.at("choices").at(i).at("allowed"), !why.choices[i].vetoed);
  }
}

TEST_F(WhatIf, AModelsDocumentHasItsUnits) {
  const Checkpoint& checkpoint = model_.checkpoint;
  const auto document = model_json(checkpoint, {Role::kNorm});
  EXPECT_EQ(document.at("bytes"), checkpoint.bytes());
  EXPECT_EQ(document.at("quantized"), false);
  ASSERT_EQ(document.at("units").size(), checkpoint.units.size());
  int64_t bytes = 0;
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    EXPECT_EQ(document.at("units").at(u).at("name"), checkpoint.units[u].name);
    EXPECT_EQ(document.at("units").at(u).at("kept"), is_kept(checkpoint.units[u], {Role::kNorm}));
    bytes += checkpoint.stored_bytes(checkpoint.units[u]);
  }
  EXPECT_EQ(bytes, checkpoint.bytes());
}

}  // namespace
}  // namespace ram
