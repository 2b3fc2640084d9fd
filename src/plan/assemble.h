// Turns a choice of formats into a Plan with every number filled in; used by the planner, the sweep
// and edited plans.
#pragma once

#include <chrono>
#include <functional>
#include <span>
#include <vector>

#include "objective.h"

namespace ram {

/// @param formats one per unit. Sets all but unit_budget_bytes, lower_bound, budget_bytes and
/// total_bytes.
Plan assemble_plan(const PlanInput& input, const PlanRequest& request, const Objective& objective,
                   std::span<const UnitFormat> formats);

/// Sets total_bytes to the size of the finished folder, which itself contains this number.
/// @param follow called with each new total to set other numbers of the plan that equal it.
void settle_total(const Checkpoint& checkpoint, Plan& plan,
                  const std::function<void(Plan&, int64_t total)>& follow = {});

/// @return the formats of a choice, given as positions in the knapsack's options.
std::vector<UnitFormat> formats_of(const Objective& objective, const PlanKnapsack& knapsack,
                                   std::span<const int> choice);

/// @return the formats of mlx_lm.convert -q with the request's uniform format, except for pins.
std::vector<UnitFormat> uniform_formats(const Checkpoint& checkpoint, const PlanRequest& request,
                                        const Objective& objective);

/// @return for each unit the cheapest option; among equally cheap ones that with the least loss.
std::vector<int> cheapest_choice(const Knapsack& knapsack);

/// A time limit shared by several solves: each gets half of what is left, so that none gets
/// nothing.
class SharedTime {
 public:
  explicit SharedTime(double seconds);
  double next_share_s() const;

 private:
  std::chrono::steady_clock::time_point end_;
};

/// The method's own solver. The answer's lower_bound is never above the smallest possible loss of a
/// plan.
/// @param time_limit_s of this solve.
Allocation solve_request(const PlanRequest& request, const Knapsack& knapsack, int64_t budget_bytes,
                         double time_limit_s);

/// The model card.
std::string render_readme(const Checkpoint& checkpoint, const Plan& plan);

}  // namespace ram
