// Guarantees about a budget: a larger one is never worse, an edited plan must keep it, and the
// uniform format for comparison.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "objective.h"
#include "plan_test_support.h"
#include "support/sanitizers.h"

namespace ram {
namespace {

using ::testing::HasSubstr;

// A plan takes most of a second in a sanitized build, which tries fewer seeds.
constexpr unsigned kSeeds = RAM_SANITIZED ? 1 : 3;
constexpr int kStarts = RAM_SANITIZED ? 1 : 3;
constexpr int64_t kAroundADigit = RAM_SANITIZED ? 3 : 20;

TEST(Budget, AByteMoreIsNeverWorse) {
  std::mt19937_64 random(11);
  int tried = 0;
  int differ = 0;
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    for (const testing::TinyModel& tiny : {testing::TinyModel{}, tiny_experts()}) {
      if (RAM_SANITIZED && tiny.moe()) continue;  // the optimized build tries both
      const PlanningModel model(tiny, seed);
      const int64_t least = model.min_safe_bytes();
      std::uniform_int_distribution<int64_t> starts(least, model.checkpoint.bytes());
      for (int i = 0; i < kStarts; ++i) {
        int64_t budget = starts(random);
        double loss = model.plan(model.with_budget(budget)).plan.value().objective;
        for (const int64_t more : {1, 1, 2, 3, 7, 16, 17, 31, 64, 128, 500}) {
          budget += more;
          const double next = model.plan(model.with_budget(budget)).plan.value().objective;
          EXPECT_LE(next, loss) << budget << " after " << budget - more;
          differ += next < loss ? 1 : 0;
          ++tried;
          loss = next;
        }
      }
    }
  }
  EXPECT_GT(differ, tried / 20) << "the budgets are too close to distinguish plans";
}

TEST(Budget, ADigitMoreIsNeverWorse) {
  for (unsigned seed = 1; seed <= kSeeds; ++seed) {
    const PlanningModel model({}, seed);
    for (const int64_t power : {100000, 1000000}) {
      if (power - 3 < model.min_safe_bytes()) continue;
      double loss = model.plan(model.with_budget(power - 3)).plan.value().objective;
      for (int64_t budget = power - 2; budget < power + kAroundADigit; ++budget) {
        const double next = model.plan(model.with_budget(budget)).plan.value().objective;
        EXPECT_LE(next, loss) << budget;
        loss = next;
      }
    }
  }
}

// A plan edited so that its folder exceeds its budget.
Plan edited_plan(const PlanningModel& model) {
  Plan plan = model.plan(model.with_budget(model.min_safe_bytes() + 20000)).plan.value();
  for (PlannedUnit& unit : plan.units) {
    if (unit.format && unit.format->bits < 6) unit.format->bits = unit.format->bits == 5 ? 6 : 5;
  }
  return plan;
}

TEST(Budget, AnEditedPlanThatBreaksItNamesTheFileAndTheBudgetThatHolds) {
  const PlanningModel model(tiny_experts());
  const Plan edited = edited_plan(model);
  const Plan over = complete_plan(model.input(), edited, "my plan.json", OverBudget::kReturn);
  EXPECT_GT(over.total_bytes, over.budget_bytes);
  const int64_t least = least_budget(model.checkpoint, over);
  std::string message;
  try {
    (void)complete_plan(model.input(), edited, "my plan.json");
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUsage);
    message = error.what();
  }
  EXPECT_THAT(message, HasSubstr("my plan.json"));
  EXPECT_THAT(message, HasSubstr("--budget " + std::to_string(least)));
  Plan enough = edited;
  set_budget(enough, least);
  const Plan fits = complete_plan(model.input(), enough);
  EXPECT_EQ(fits.total_bytes, least);
  EXPECT_EQ(fits.request.budget_bytes, least);
  EXPECT_EQ(layout_plan(model.checkpoint, fits).total_bytes(), least);
  for (size_t u = 0; u < fits.units.size(); ++u) {
    EXPECT_EQ(fits.units[u].format, edited.units[u].format);
  }
  set_budget(enough, least - 1);
  EXPECT_THROW((void)complete_plan(model.input(), enough), Error);
}

TEST(UniformBeside, IsTheLargestThatTakesNoMore) {
  const PlanningModel model(tiny_experts());
  std::map<int64_t, std::pair<AffineFormat, double>> uniform;  // by size
  for (const AffineFormat format : kAffineFormats) {
    PlanRequest request;
    request.uniform = format;
    const Plan plan = model.plan(request).plan.value();
    uniform.emplace(plan.total_bytes, std::pair(format, plan.objective));
  }
  constexpr int kSizes = RAM_SANITIZED ? 3 : 40;
  int seen = 0;
  for (int64_t budget = model.min_safe_bytes(); budget < model.checkpoint.bytes();
       budget += model.checkpoint.bytes() / kSizes) {
    const Plan plan = model.plan(model.with_budget(budget)).plan.value();
    const auto beside = uniform_beside(model.input(), plan);
    auto above = uniform.upper_bound(plan.total_bytes);
    ASSERT_EQ(beside.has_value(), above != uniform.begin());
    if (!beside) continue;
    --above;
    ++seen;
    EXPECT_EQ(beside->total_bytes, above->first);
    EXPECT_EQ(beside->format, above->second.first);
    EXPECT_NEAR(beside->loss, above->second.second, 1e-12 * beside->loss);
  }
  EXPECT_GT(seen, kSizes / 4);
}

TEST(UniformBeside, IsRoundedPlainlyWhateverThePlansEncoderGains) {
  const PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 3);
  request.method = Method::kMeasured;
  for (const Unit& unit : model.checkpoint.units) request.coefficients[unit.name] = 2;
  const auto plain = uniform_beside(model.input(), model.plan(request).plan.value());
  for (const Unit& unit : model.checkpoint.units) request.gains.units[unit.name] = 0.25;
  request.gains.formats.assign(kFormatCount, 0.5);
  const auto gained = uniform_beside(model.input(), model.plan(request).plan.value());
  ASSERT_TRUE(plain && gained);
  EXPECT_EQ(plain->format, gained->format);
  EXPECT_NEAR(plain->loss, gained->loss, 1e-12 * plain->loss);
}

TEST(UniformBeside, AFormatThatAUnitCannotHaveByThePlansLossIsPassedOver) {
  PlanningModel model(tiny_experts());
  PlanRequest request = model.with_budget(model.checkpoint.bytes() / 3);
  request.method = Method::kPublished;
  const Plan plan = model.plan(request).plan.value();
  const auto before = uniform_beside(model.input(), plan);
  ASSERT_TRUE(before);
  // The simulated quantizer overflows where the real one does not.
  const auto format = static_cast<size_t>(format_index(before->format));
  for (UnitCurve& curve : model.simulated.units) {
    for (Distortion& part : curve.parts) part.squared_error[format] = INFINITY;
    curve.pooled.squared_error[format] = INFINITY;
  }
  const auto after = uniform_beside(model.input(), plan);
  ASSERT_TRUE(after);
  EXPECT_NE(after->format, before->format);
  EXPECT_TRUE(std::isfinite(after->loss));
}

TEST(Optimality, IsSaidWithoutADivisionByABoundOfNothing) {
  Plan plan;
  plan.method = Method::kSquared;
  EXPECT_EQ(optimality(plan), "the least for this size (proven)");
  plan.objective = 2;
  EXPECT_EQ(optimality(plan), "how far above the least for this size is not known");
  plan.lower_bound = 1.6;
  EXPECT_EQ(optimality(plan), "at most 25 % above the least for this size");
  plan.lower_bound = 2;
  EXPECT_EQ(optimality(plan), "the least for this size (proven)");
  plan.method = Method::kUniform;
  plan.lower_bound = 0.5;
  EXPECT_EQ(optimality(plan), "at most 4 times what mixed formats lose at this size");
}

TEST(Optimality, IsOfWhatWasAskedForWhereThatWasLimited) {
  Plan plan;
  plan.request.menu = {AffineFormat{.bits = 4, .group_size = 64}};
  EXPECT_EQ(optimality(plan), "the least for this size within the request (proven)");
  plan.request.menu.clear();
  plan.request.pins = {{.pattern = "*", .format = {}}};
  plan.objective = 1.5;
  plan.lower_bound = 1;
  EXPECT_EQ(optimality(plan), "at most 50 % above the least for this size within the request");
}

TEST(Optimality, ABoundIsNotShownAsLessThanItIs) {
  Plan plan;
  plan.lower_bound = 100;
  for (const auto& [objective, shown] : std::vector<std::pair<double, const char*>>{
           {101.449, "1.5"}, {124.4, "25"}, {204.9, "1.1e+02"}, {100.0123, "0.013"}, {110, "10"}}) {
    plan.objective = objective;
    EXPECT_EQ(optimality(plan), fmt::format("at most {} % above the least for this size", shown));
  }
}

TEST(CompletePlan, AnUneditedPlanByBitsComesOutAsItWas) {
  const PlanningModel model;
  for (const double bits : {4.0, 8.0, 15.0, 20.0}) {
    PlanRequest request;
    request.bits_per_weight = bits;
    const Plan plan = model.plan(request).plan.value();
    const Plan again = complete_plan(model.input(), parse_plan(render_plan(plan), "plan.json"));
    EXPECT_EQ(render_plan(again), render_plan(plan)) << bits;
  }
}

// Better formats than the menu has, edited in: the bound of the menu does not apply to them.
TEST(CompletePlan, APlanBetterThanItsMenuIsNotProvenToBeTheLeast) {
  const PlanningModel model;
  PlanRequest request = model.with_budget(model.checkpoint.bytes() * 45 / 100);
  request.menu = {AffineFormat{.bits = 4, .group_size = 64}};
  Plan edited = model.plan(request).plan.value();
  EXPECT_NE(optimality(edited).find("within the request (proven)"), std::string::npos);
  int changed = 0;
  for (PlannedUnit& unit : edited.units) {
    if (!unit.format || changed == 2) continue;
    unit.format = AffineFormat{.bits = changed == 0 ? 8 : 2, .group_size = 64};
    ++changed;
  }
  ASSERT_EQ(changed, 2);
  edited.budget_bytes = 2 * edited.budget_bytes;
  const Plan made = complete_plan(model.input(), edited);
  // The bound allows what the plan uses: it stays a bound, and is below that of the menu alone.
  EXPECT_LE(made.lower_bound, made.objective);
  EXPECT_GT(made.lower_bound, 0);
}

TEST(Budget, AboveTheSourceNothingIsQuantizedAndNothingLost) {
  const PlanningModel model(tiny_experts());
  const Plan whole = model.plan(model.with_budget(2 * model.checkpoint.bytes())).plan.value();
  EXPECT_TRUE(nothing_quantized(whole));
  EXPECT_EQ(whole.objective, 0);
  EXPECT_FALSE(
      nothing_quantized(model.plan(model.with_budget(model.checkpoint.bytes() / 2)).plan.value()));
}

}  // namespace
}  // namespace ram
