// Solves a request: within a budget of all files, within bits per weight, or one format for all.
//
// JSON and headers change length with the plan, so the units' share of the budget is found by
// search. No length depends on the budget or on the share: their digits are padded.
#include <algorithm>
#include <limits>

#include "ram/error.h"
#include "ram/size.h"

#include "assemble.h"
#include "plan_rule.h"

namespace ram {
namespace {

// Remaining room that is not worth another round. The contract allows 64 KiB + 0.1 %.
constexpr int64_t kSpareBytes = 16;
constexpr int kMostRounds = 24;

void budget_follows(Plan& plan, int64_t total) {
  plan.budget_bytes = total;
}

struct Planner {
  const PlanInput& input;
  const PlanRequest& request;
  const Objective& objective;
  const PlanKnapsack& knapsack;
  int64_t min_safe_bytes = 0;
  SharedTime time = SharedTime(request.time_limit_s);

  Plan plan_of(std::span<const int> choice, int64_t unit_budget, double lower_bound,
               std::optional<int64_t> budget) const {
    Plan plan = assemble_plan(input, request, objective, formats_of(objective, knapsack, choice));
    plan.unit_budget_bytes = unit_budget;
    plan.lower_bound = std::min(lower_bound, plan.objective);
    plan.min_safe_bytes = min_safe_bytes;
    plan.budget_bytes = budget.value_or(0);
    settle_total(input.checkpoint, plan, budget ? nullptr : budget_follows);
    return plan;
  }

  // The plan with the fewest bytes; its bound is weak, since nothing was searched.
  Plan cheapest(std::optional<int64_t> budget) const {
    const std::vector<int> choice = cheapest_choice(knapsack.knapsack);
    const Option sums = audit_choice(knapsack.knapsack, choice);
    const double bound = knapsack_lower_bound(knapsack.knapsack, sums.bytes);
    return plan_of(choice, sums.bytes, bound, budget);
  }

  // The plan with the least loss at any size, if it keeps the budget.
  std::optional<Plan> least_loss(int64_t budget) const {
    int64_t most = 0;
    for (const std::vector<Option>& options : knapsack.knapsack.units) {
      int64_t largest = 0;
      for (const Option& option : options) largest = std::max(largest, option.bytes);
      most += largest;
    }
    const Allocation answer = solve_request(request, knapsack.knapsack, most, time.next_share_s());
    RAM_CHECK(answer.feasible);
    if (answer.bytes > budget) return std::nullopt;
    Plan plan = plan_of(answer.choice, answer.bytes, answer.lower_bound, budget);
    if (plan.total_bytes > budget) return std::nullopt;
    plan.unit_budget_bytes = budget - (plan.total_bytes - plan.weight_bytes);
    settle_total(input.checkpoint, plan);
    return plan.total_bytes <= budget ? std::optional<Plan>(plan) : std::nullopt;
  }
};

std::optional<Plan> plan_within_units(const Planner& planner, int64_t unit_budget,
                                      std::optional<int64_t> budget) {
  const Allocation answer = solve_request(planner.request, planner.knapsack.knapsack, unit_budget,
                                          planner.time.next_share_s());
  if (!answer.feasible) return std::nullopt;
  const Option sums = audit_choice(planner.knapsack.knapsack, answer.choice);
  RAM_CHECK(sums.bytes == answer.bytes && sums.bytes <= unit_budget);
  return planner.plan_of(answer.choice, unit_budget, answer.lower_bound, budget);
}

// Bytes of the files beside the weights in the smallest case: everything that may stay unquantized
// does.
int64_t fewest_other_bytes(const Planner& planner, const Plan& cheapest) {
  std::vector<int> choice;
  for (const std::vector<Option>& options : planner.knapsack.knapsack.units) {
    const auto most =
        std::max_element(options.begin(), options.end(),
                         [](const Option& a, const Option& b) { return a.bytes < b.bytes; });
    choice.push_back(static_cast<int>(most - options.begin()));
  }
  // The shortest text about optimality: that of a proof.
  const Plan plan = planner.plan_of(choice, cheapest.unit_budget_bytes,
                                    std::numeric_limits<double>::infinity(), cheapest.budget_bytes);
  return std::min(cheapest.total_bytes - cheapest.weight_bytes,
                  plan.total_bytes - plan.weight_bytes);
}

// The best plan for the largest share, from a grid that does not depend on the budget, with which
// the folder keeps the budget. The grid ensures that a larger budget is never worse: a plan that
// fits one budget fits every larger one, since no file's length depends on the budget.
std::optional<Plan> plan_on_grid(const Planner& planner, int64_t budget, const Plan& cheapest) {
  // A fraction of the source's size: less than the smallest step between most plans.
  constexpr int64_t kGridPart = 1 << 14;
  constexpr int64_t kLeastStep = 64;
  const int64_t step = std::max(kLeastStep, planner.input.checkpoint.bytes() / kGridPart);
  int64_t at = (budget - fewest_other_bytes(planner, cheapest)) / step;
  while (at * step >= cheapest.weight_bytes) {
    std::optional<Plan> plan = plan_within_units(planner, at * step, budget);
    if (!plan) return std::nullopt;
    if (plan->total_bytes <= budget) {
      // A plan that is optimal for a larger share and fits into the rest is optimal for the rest.
      const int64_t left = budget - (plan->total_bytes - plan->weight_bytes);
      plan->unit_budget_bytes = std::min(plan->unit_budget_bytes, left);
      return plan;
    }
    at = std::min(at - 1, (plan->weight_bytes - 1) / step);  // all above give the same plan
  }
  return std::nullopt;
}

// The share is found by planning with the size of the last plan's files besides its weights, until
// little is left unused: for a solver whose loss may grow with its share, a grid does not help.
std::optional<Plan> plan_in_rounds(const Planner& planner, int64_t budget, const Plan& cheapest) {
  std::optional<Plan> best;
  int64_t too_small = -1;  // the largest room for other files that was too small
  int64_t room = cheapest.total_bytes - cheapest.weight_bytes;
  for (int round = 0; round < kMostRounds && budget > room; ++round) {
    std::optional<Plan> plan = plan_within_units(planner, budget - room, budget);
    if (!plan) break;  // the room exceeds what the cheapest plan leaves
    const int64_t taken = plan->total_bytes - plan->weight_bytes;
    if (plan->total_bytes <= budget) {
      plan->unit_budget_bytes = std::min(plan->unit_budget_bytes, budget - taken);
      if (!best || plan->unit_budget_bytes > best->unit_budget_bytes) best = std::move(plan);
      const int64_t next = std::max(taken, too_small + 1);
      if (room - next <= kSpareBytes) break;
      room = next;
    } else {
      too_small = std::max(too_small, room);
      if (best && taken >= budget - best->unit_budget_bytes) break;
      room = std::max(taken, too_small + 1);
    }
  }
  return best;
}

std::optional<Plan> plan_within_budget(const Planner& planner, int64_t budget) {
  Plan least = planner.cheapest(budget);
  if (least.total_bytes > budget) return std::nullopt;
  // Unquantized modules need the fewest JSON entries, so the plan with the least loss may fit where
  // no share of the budget would reach it.
  if (std::optional<Plan> whole = planner.least_loss(budget)) return whole;
  const bool greedy = planner.request.method == Method::kPublished;
  std::optional<Plan> best =
      greedy ? plan_in_rounds(planner, budget, least) : plan_on_grid(planner, budget, least);
  return best ? std::move(best) : std::move(least);
}

// The bound is over every format, so it shows what a mixed plan could reach.
Plan plan_uniform(const PlanInput& input, const PlanRequest& request, const Objective& objective,
                  int64_t min_safe_bytes) {
  const Checkpoint& checkpoint = input.checkpoint;
  const std::vector<UnitFormat> formats = uniform_formats(checkpoint, request, objective);
  Plan plan = assemble_plan(input, request, objective, formats);
  plan.menu = {*request.uniform};
  plan.unit_budget_bytes = plan.weight_bytes;
  const Knapsack every = make_knapsack(objective, /*lift_veto=*/true).knapsack;
  plan.lower_bound = std::min(plan.objective, knapsack_lower_bound(every, plan.weight_bytes));
  plan.min_safe_bytes = min_safe_bytes;
  settle_total(checkpoint, plan, budget_follows);
  return plan;
}

// The smallest budget that a safe plan keeps: the size of its folder, with that budget written in
// it.
int64_t find_min_safe_bytes(const PlanInput& input, const PlanRequest& asked) {
  PlanRequest request = asked;
  request.bits_per_weight.reset();
  request.uniform.reset();
  request.allow_unsafe = false;
  if (request.method == Method::kUniform) request.method = Method::kSquared;
  const Objective objective = make_objective(input, request);
  const PlanKnapsack safe = make_knapsack(objective, /*lift_veto=*/false);
  const std::vector<int> choice = cheapest_choice(safe.knapsack);
  Plan plan = assemble_plan(input, request, objective, formats_of(objective, safe, choice));
  plan.unit_budget_bytes = plan.weight_bytes;
  plan.lower_bound = plan.objective;
  settle_total(input.checkpoint, plan, [](Plan& p, int64_t total) {
    p.budget_bytes = p.min_safe_bytes = total;
    p.request.budget_bytes = total;
  });
  return plan.total_bytes;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(names.size(), 3); ++i) {
    text += fmt::format("{}{}", i == 0 ? "" : ", ", names[i]);
  }
  if (names.size() > 3) text += fmt::format(" and {} more", names.size() - 3);
  return text;
}

void add_notes(const PlanInput& input, const PlanRequest& request, const Objective& objective,
               PlanResult& result) {
  std::vector<std::string> undivided;
  std::vector<std::string> lifted;
  for (size_t u = 0; u < objective.units.size(); ++u) {
    const Unit& unit = input.checkpoint.units[u];
    if (objective.units[u].no_group_divides) {
      undivided.push_back(fmt::format("{} ({})", unit.name, unit.cols));
    }
    if (!result.plan || !request.allow_unsafe) continue;
    const Candidate* chosen = find_candidate(objective.units[u], result.plan->units[u].format);
    if (chosen != nullptr && chosen->below_veto) {
      lifted.push_back(fmt::format("{} at {} ({:.1f} dB)", unit.name, format_name(*chosen->format),
                                   chosen->sqnr_db));
    }
  }
  if (!undivided.empty()) {
    result.notes.push_back(
        fmt::format("kept unquantized, since no group size (32, 64, 128) divides the rows: {}",
                    joined(undivided)));
  }
  if (request.allow_unsafe && request.method != Method::kUniform) {
    result.notes.push_back(
        lifted.empty()
            ? fmt::format("--allow-unsafe: no unit needed to go below {} dB", request.veto_db)
            : fmt::format("--allow-unsafe: {} units are below {} dB: {}", lifted.size(),
                          request.veto_db, joined(lifted)));
  }
  if (result.plan && request.method != Method::kPublished && request.method != Method::kUniform &&
      result.plan->lower_bound < result.plan->objective) {
    result.notes.push_back(fmt::format(
        "the solver reached its time limit: the plan's loss is within {} of the least possible",
        result.plan->lower_bound > 0
            ? fmt::format("{:.3g} %", 100 * (result.plan->objective / result.plan->lower_bound - 1))
            : fmt::format("{:.3g}", result.plan->objective)));
  }
}

}  // namespace

PlanResult make_plan(const PlanInput& input, const PlanRequest& asked) {
  PlanRequest request = asked;
  const int targets = static_cast<int>(request.budget_bytes.has_value()) +
                      static_cast<int>(request.bits_per_weight.has_value()) +
                      static_cast<int>(request.uniform.has_value());
  if (targets != 1) {
    fail(Code::kUsage, "{} of --budget, --bpw, --uniform: give exactly one", targets);
  }
  if (request.uniform) request.method = Method::kUniform;
  RAM_CHECK(request.method != Method::kPublished || input.simulated != nullptr);

  const Objective objective = make_objective(input, request);
  const PlanKnapsack knapsack = make_knapsack(objective, request.allow_unsafe);
  PlanResult result;
  result.min_safe_bytes = find_min_safe_bytes(input, request);
  const Planner planner = {input, request, objective, knapsack, result.min_safe_bytes};

  if (request.uniform) {
    result.plan = plan_uniform(input, request, objective, result.min_safe_bytes);
  } else if (request.budget_bytes) {
    result.plan = plan_within_budget(planner, *request.budget_bytes);
  } else {
    const auto weights = static_cast<double>(parameter_count(input.checkpoint));
    const auto unit_budget = static_cast<int64_t>(*request.bits_per_weight * weights / 8);
    result.plan = plan_within_units(planner, unit_budget, std::nullopt);
  }
  if (result.plan) expect_readable(*result.plan);
  add_notes(input, request, objective, result);
  return result;
}

int64_t min_safe_bytes(const PlanInput& input, PlanRequest request) {
  request.bits_per_weight.reset();
  request.uniform.reset();
  request.budget_bytes = 1;  // nothing fits, and the answer says what would
  return make_plan(input, request).min_safe_bytes;
}

}  // namespace ram
