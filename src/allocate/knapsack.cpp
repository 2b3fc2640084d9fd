// The exact solver: relaxation, reduction to a core, passes of the core's search with increasing
// numbers of states, and finally single upgrades that still fit.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>

#include "ram/allocate.h"
#include "ram/error.h"

#include "core.h"
#include "instance.h"
#include "relaxation.h"
#include "search.h"
#include "several.h"
#include "sum.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

/// "Least" means least up to this share of itself (docs/decisions/0003-solver.md).
constexpr double kTolerance = 1e-13;

/// Costs stay below 2^60, so that adding two of them cannot overflow.
constexpr double kLargestCost = 0x1p60;

/// States per pass. The first passes find a good allocation quickly; nearly always one of them also
/// proves it. The last number limits memory (search.h).
constexpr size_t kStates[] = {64, 4096, size_t{1} << 16, size_t{1} << 18};

/// An allocation as items that differ from the relaxation's base.
struct Candidate {
  std::vector<uint32_t> items;  ///< indices into Instance::items
  double loss = 0;
  double gap = 0;  ///< loss above the relaxation's value
};

struct Solution {
  std::vector<uint32_t> items;  ///< per unit: index into Instance::items
  double bound = 0;
  bool optimal = false;
};

class Solver {
 public:
  Solver(const Instance& instance, int64_t capacity)
      : instance_(instance), relaxed_(relax(instance, capacity)) {}

  Solution solve(Clock::time_point deadline);

 private:
  Candidate best_single_move() const;
  double resolution() const;
  void run_pass(size_t states, Clock::time_point deadline);
  void accept(const Incumbent& incumbent, double unit);
  double loss_with(const std::vector<uint32_t>& changes) const;
  Incumbent price_best(const Core& core, double resolution) const;
  size_t unit_of(uint32_t item) const {
    const auto after = std::upper_bound(instance_.first.begin(), instance_.first.end(), item);
    return static_cast<size_t>(after - instance_.first.begin()) - 1;
  }
  const Item& base_of(uint32_t item) const { return instance_.items[relaxed_.base[unit_of(item)]]; }

  const Instance& instance_;
  const Relaxation relaxed_;
  Candidate best_;
  double bound_ = 0;  ///< proven lower bound of any allocation's loss above the relaxation's
  bool optimal_ = false;
};

/// The base, or the best allocation that fits and differs from it by one move.
Candidate Solver::best_single_move() const {
  Candidate best{{}, relaxed_.base_loss, relaxed_.price * static_cast<double>(relaxed_.residual)};
  for (size_t u = 0; u < instance_.units(); ++u) {
    const Item& base = instance_.items[relaxed_.base[u]];
    for (uint32_t i = instance_.first[u]; i < instance_.first[u + 1]; ++i) {
      const Item& item = instance_.items[i];
      const int64_t free = relaxed_.residual - (item.weight - base.weight);
      if (free < 0) break;
      const double gap =
          reduced_cost(base, item, relaxed_.price) + relaxed_.price * static_cast<double>(free);
      if (gap < best.gap) best = {{i}, 0, gap};
    }
  }
  best.loss = loss_with(best.items);
  return best;
}

/// Loss per unit of cost. Rounding to whole costs may lose half the tolerance over all units.
double Solver::resolution() const {
  const auto units = static_cast<double>(instance_.units());
  return std::max(kTolerance * best_.loss / (2 * units), best_.gap / kLargestCost);
}

/// Improves the best allocation and the bound. Sets whether they meet.
void Solver::run_pass(size_t states, Clock::time_point deadline) {
  const double unit = resolution();
  optimal_ = !(best_.gap > 0 && unit > 0);
  if (optimal_) return;
  Core core = make_core(instance_, relaxed_, best_.gap, unit);
  Incumbent incumbent = price_best(core, unit);
  SearchLimits limits;
  limits.states = states;
  limits.tolerance = std::max<int64_t>(1, std::llround(kTolerance * best_.loss / unit));
  limits.deadline = deadline;
  int64_t bound = 0;
  if (incumbent.cost >= limits.tolerance) {
    bound = std::numeric_limits<int64_t>::max();
    for (const Core& part : split_core(std::move(core), incumbent.cost)) {
      bound = std::min(bound, search_core(part, limits, incumbent));
    }
  }
  optimal_ = bound >= incumbent.cost - limits.tolerance;
  bound_ = std::max(bound_, static_cast<double>(bound) * unit - kTolerance * best_.loss);
  accept(incumbent, unit);
}

void Solver::accept(const Incumbent& incumbent, double unit) {
  best_ = {incumbent.items, loss_with(incumbent.items), static_cast<double>(incumbent.cost) * unit};
}

double Solver::loss_with(const std::vector<uint32_t>& changes) const {
  std::vector<uint32_t> items = relaxed_.base;
  for (const uint32_t item : changes) items[unit_of(item)] = item;
  CompensatedSum loss;
  for (const uint32_t item : items) loss.add(instance_.items[item].loss);
  return loss.value();
}

/// The best allocation in the core's costs.
Incumbent Solver::price_best(const Core& core, double resolution) const {
  Incumbent incumbent;
  incumbent.items = best_.items;
  for (const uint32_t i : best_.items) {
    const Item& item = instance_.items[i];
    const double cost = std::max(0.0, reduced_cost(base_of(i), item, relaxed_.price));
    incumbent.weight += item.weight - base_of(i).weight;
    incumbent.cost += std::llround(cost / resolution);
  }
  const int64_t free = core.residual - incumbent.weight;
  incumbent.cost += std::llround(core.price * static_cast<double>(free));
  return incumbent;
}

Solution Solver::solve(Clock::time_point deadline) {
  best_ = best_single_move();
  for (const size_t states : kStates) {
    double loss_before = 0;
    do {
      // A pass is exact relative to the loss it began with. If that was far too large, the pass was
      // not exact enough for the loss it found.
      loss_before = best_.loss;
      run_pass(states, deadline);
    } while (best_.loss < loss_before / 2 && Clock::now() < deadline);
    optimal_ = optimal_ && best_.loss >= loss_before / 2;
    if (optimal_ || Clock::now() >= deadline) break;
  }
  Solution solution{relaxed_.base, 0, optimal_};
  for (const uint32_t item : best_.items) solution.items[unit_of(item)] = item;
  solution.bound = relaxed_.bound + bound_;
  return solution;
}

/// Takes single upgrades that lower the loss and fit, until there are none.
void fill(const Instance& instance, int64_t capacity, std::vector<uint32_t>& items) {
  int64_t free = capacity;
  for (size_t u = 0; u < items.size(); ++u) free -= instance.items[items[u]].weight;
  RAM_CHECK(free >= 0);
  for (size_t u = 0; u < items.size(); ++u) {
    // Within a unit heavier items have less loss, so the last item that fits is the best.
    const int64_t weight = instance.items[items[u]].weight;
    while (items[u] + 1 < instance.first[u + 1] &&
           instance.items[items[u] + 1].weight - weight <= free) {
      ++items[u];
    }
    free -= instance.items[items[u]].weight - weight;
  }
}

}  // namespace

Allocation solve_bytes(const Knapsack& problem, int64_t budget_bytes, Clock::time_point deadline) {
  const Instance instance = make_instance(problem);
  Allocation answer;
  answer.least_bytes = instance.least_bytes;
  answer.lower_bound = std::numeric_limits<double>::infinity();
  if (budget_bytes < instance.least_bytes) return answer;
  const int64_t capacity = instance.capacity(budget_bytes);
  Solution solution = Solver(instance, capacity).solve(deadline);
  fill(instance, capacity, solution.items);
  answer.choice.reserve(solution.items.size());
  for (const uint32_t item : solution.items) answer.choice.push_back(instance.items[item].option);
  const Option total = audit_choice(problem, answer.choice);
  answer.bytes = total.bytes;
  answer.other = total.other;
  answer.loss = total.loss;
  answer.feasible = true;
  answer.optimal = solution.optimal;
  answer.lower_bound =
      solution.optimal ? total.loss : std::min(solution.bound, std::nextafter(total.loss, 0.0));
  return answer;
}

Allocation solve_knapsack(const Knapsack& problem, const Limits& limits, double time_limit_s) {
  const auto limit = std::chrono::duration<double>(std::clamp(time_limit_s, 0.0, 1e9));
  const auto deadline = Clock::now() + std::chrono::duration_cast<Clock::duration>(limit);
  const bool bytes_only = std::all_of(limits.other.begin(), limits.other.end(),
                                      [](int64_t most) { return most == kNoLimit; });
  return bytes_only ? solve_bytes(problem, limits.bytes, deadline)
                    : solve_several(problem, limits, deadline);
}

}  // namespace ram
