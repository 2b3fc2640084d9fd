// A plan whose formats are given (read from a file, perhaps edited): every other number is worked
// out again.
#include <algorithm>
#include <map>

#include "ram/error.h"
#include "ram/size.h"

#include "assemble.h"

namespace ram {
namespace {

// The file's formats in the order of the checkpoint's units.
std::vector<UnitFormat> match_units(const Checkpoint& checkpoint, const Plan& edited) {
  std::map<std::string_view, UnitFormat> by_name;
  for (const PlannedUnit& unit : edited.units) {
    if (!by_name.emplace(unit.name, unit.format).second) {
      fail(Code::kUsage, "plan: unit {} stands in it twice; remove one", unit.name);
    }
  }
  std::vector<UnitFormat> formats;
  for (const Unit& unit : checkpoint.units) {
    const auto found = by_name.find(unit.name);
    if (found == by_name.end()) {
      fail(Code::kUsage, "plan: unit {} of {} is missing; make the plan again with `ram plan`",
           unit.name, checkpoint.name);
    }
    formats.push_back(found->second);
    by_name.erase(found);
  }
  if (!by_name.empty()) {
    fail(Code::kUsage, "plan: {} has no unit {}; `ram inspect --json` lists them", checkpoint.name,
         by_name.begin()->first);
  }
  return formats;
}

void check_formats(const Checkpoint& checkpoint, const Objective& objective,
                   std::span<const UnitFormat> formats) {
  for (size_t u = 0; u < formats.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    if (find_candidate(objective.units[u], formats[u]) != nullptr) continue;
    if (!unit.quantizable) {
      fail(Code::kUsage,
           "plan: {} at {}: this unit ({}) cannot be quantized in MLX; leave it unquantized",
           unit.name, format_name(*formats[u]), role_name(unit.role));
    }
    fail(Code::kUsage,
         "plan: {} at {}: the group size does not divide its rows of {} weights; use a smaller "
         "group",
         unit.name, format_name(*formats[u]), unit.cols);
  }
}

double bound_of(const PlanRequest& request, const Objective& objective, int64_t unit_budget) {
  // An edited plan may use what menu and veto forbid: the bound of an honest comparison is over
  // what the request allows.
  if (request.method == Method::kUniform) {
    return knapsack_lower_bound(make_knapsack(objective, true).knapsack, unit_budget);
  }
  const Knapsack knapsack = make_knapsack(objective, request.allow_unsafe).knapsack;
  const Allocation answer = solve_request(request, knapsack, unit_budget);
  return answer.feasible ? answer.lower_bound : 0;
}

}  // namespace

Plan complete_plan(const PlanInput& input, const Plan& edited) {
  const Checkpoint& checkpoint = input.checkpoint;
  if (edited.fingerprint != input.stored.fingerprint) {
    fail(Code::kUsage,
         "plan: made for {} (fingerprint {}), and {} has fingerprint {}; make a plan for this "
         "model with `ram plan`",
         edited.model_name, edited.fingerprint, checkpoint.name, input.stored.fingerprint);
  }
  const std::vector<UnitFormat> formats = match_units(checkpoint, edited);
  const Objective objective = make_objective(input, edited.request);
  check_formats(checkpoint, objective, formats);

  Plan plan = assemble_plan(input, edited.request, objective, formats);
  plan.model_name = edited.model_name;  // a moved or renamed folder makes the same output
  plan.menu = edited.menu;
  plan.budget_bytes = edited.budget_bytes;
  plan.min_safe_bytes = edited.min_safe_bytes;
  // The file's own share for the units stands as long as it can be true; so an unedited plan comes
  // out as it was.
  plan.unit_budget_bytes = edited.unit_budget_bytes;
  if (plan.unit_budget_bytes < plan.weight_bytes || plan.unit_budget_bytes > plan.budget_bytes) {
    plan.unit_budget_bytes = plan.weight_bytes;
  }
  plan.lower_bound =
      std::min(plan.objective, bound_of(edited.request, objective, plan.unit_budget_bytes));
  if (edited.request.budget_bytes) {
    settle_total(checkpoint, plan);
    if (plan.total_bytes > plan.budget_bytes) {
      fail(Code::kUsage,
           "plan: its folder takes {} bytes and the budget is {}: {} bytes too many; choose "
           "smaller formats or a larger budget_bytes",
           plan.total_bytes, plan.budget_bytes, plan.total_bytes - plan.budget_bytes);
    }
  } else {
    settle_total(checkpoint, plan, [](Plan& p, int64_t total) { p.budget_bytes = total; });
  }
  return plan;
}

}  // namespace ram
