// A plan whose formats are given (read from a file, perhaps edited): every other number is
// recomputed.
#include <algorithm>
#include <map>

#include "ram/error.h"
#include "ram/size.h"
#include "ram/text.h"

#include "assemble.h"
#include "plan_rule.h"

namespace ram {
namespace {

// The file's formats in the order of the checkpoint's units.
std::vector<UnitFormat> match_units(const Checkpoint& checkpoint, const Plan& edited,
                                    const std::string& file) {
  std::map<std::string_view, UnitFormat> by_name;
  for (const PlannedUnit& unit : edited.units) {
    if (!by_name.emplace(unit.name, unit.format).second) {
      fail(Code::kUsage, "{}: unit {} appears twice; remove one", file, unit.name);
    }
  }
  std::vector<UnitFormat> formats;
  for (const Unit& unit : checkpoint.units) {
    const auto found = by_name.find(unit.name);
    if (found == by_name.end()) {
      fail(Code::kUsage, "{}: unit {} of {} is missing; make the plan again with `ram plan`", file,
           unit.name, checkpoint.name);
    }
    formats.push_back(found->second);
    by_name.erase(found);
  }
  if (!by_name.empty()) {
    fail(Code::kUsage, "{}: {} has no unit {}; `ram inspect --json` lists them", file,
         checkpoint.name, by_name.begin()->first);
  }
  return formats;
}

void check_formats(const Checkpoint& checkpoint, const Objective& objective,
                   std::span<const UnitFormat> formats, const std::string& file) {
  for (size_t u = 0; u < formats.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    if (find_candidate(objective.units[u], formats[u]) != nullptr) continue;
    if (!unit.quantizable) {
      fail(Code::kUsage,
           "{}: {} at {}: this unit ({}) cannot be quantized in MLX; leave it unquantized", file,
           unit.name, format_name(*formats[u]), role_name(unit.role));
    }
    fail(Code::kUsage,
         "{}: {} at {}: the group size does not divide its rows of {} weights; use a smaller "
         "group",
         file, unit.name, format_name(*formats[u]), unit.cols);
  }
}

double bound_of(const PlanRequest& request, const Objective& objective, int64_t unit_budget) {
  if (request.method == Method::kUniform) {
    return knapsack_lower_bound(make_knapsack(objective, true).knapsack, unit_budget);
  }
  const Knapsack knapsack = make_knapsack(objective, request.allow_unsafe).knapsack;
  const Allocation answer = solve_request(request, knapsack, unit_budget, request.time_limit_s);
  return answer.feasible ? answer.lower_bound : 0;
}

// An edited plan may use formats that menu and veto forbid. The bound is over what the request
// allows plus what the plan uses: without the latter it could lie above the plan and prove nothing.
Objective with_formats(Objective objective, std::span<const UnitFormat> formats) {
  for (size_t u = 0; u < formats.size(); ++u) {
    for (Candidate& candidate : objective.units[u].candidates) {
      if (candidate.format != formats[u]) continue;
      candidate.allowed = true;
      candidate.below_veto = false;
    }
  }
  return objective;
}

}  // namespace

void set_budget(Plan& plan, int64_t bytes) {
  plan.budget_bytes = bytes;
  plan.request.bits_per_weight.reset();
  plan.request.budget_bytes = bytes;
}

int64_t least_budget(const Checkpoint& checkpoint, const Plan& plan) {
  Plan own = plan;
  settle_total(checkpoint, own, set_budget);
  return own.total_bytes;
}

Plan complete_plan(const PlanInput& input, const Plan& edited, const std::string& file,
                   OverBudget over) {
  const Checkpoint& checkpoint = input.checkpoint;
  if (edited.fingerprint != input.stored.fingerprint) {
    fail(Code::kUsage,
         "{}: made for {} (fingerprint {}), and {} has fingerprint {}; make a plan for this "
         "model with `ram plan`",
         file, edited.model_name, edited.fingerprint, checkpoint.name, input.stored.fingerprint);
  }
  const std::vector<UnitFormat> formats = match_units(checkpoint, edited, file);
  const Objective objective = make_objective(input, edited.request);
  check_formats(checkpoint, objective, formats, file);

  Plan plan = assemble_plan(input, edited.request, objective, formats);
  if (plan.request.budget_bytes) plan.request.budget_bytes = edited.budget_bytes;
  plan.model_name = edited.model_name;  // a moved or renamed folder makes the same output
  plan.menu = edited.menu;
  plan.budget_bytes = edited.budget_bytes;
  plan.min_safe_bytes = edited.min_safe_bytes;
  // The file's own share for the units is kept as long as it can be valid, so an unedited plan
  // stays unchanged.
  plan.unit_budget_bytes = edited.unit_budget_bytes;
  const bool beyond = edited.request.budget_bytes && plan.unit_budget_bytes > plan.budget_bytes;
  if (plan.unit_budget_bytes < plan.weight_bytes || beyond) {
    plan.unit_budget_bytes = plan.weight_bytes;
  }
  plan.lower_bound =
      std::min(plan.objective,
               bound_of(edited.request, with_formats(objective, formats), plan.unit_budget_bytes));
  if (edited.request.budget_bytes) {
    settle_total(checkpoint, plan);
    if (plan.total_bytes > plan.budget_bytes && over == OverBudget::kRefuse) {
      fail(Code::kUsage,
           "{}: its folder takes {} bytes and its budget is {}: {} bytes too many; choose smaller "
           "formats (`ram explain {}` says which), or give --budget {}",
           file, plan.total_bytes, plan.budget_bytes, plan.total_bytes - plan.budget_bytes,
           shell_word(file), least_budget(checkpoint, plan));
    }
  } else {
    settle_total(checkpoint, plan, [](Plan& p, int64_t total) { p.budget_bytes = total; });
  }
  expect_readable(plan);
  return plan;
}

}  // namespace ram
