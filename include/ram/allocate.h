// The multiple-choice knapsack: picks one option per unit so that the loss is least while bytes,
// and optionally other costs, stay within limits. Numbers only: no tensors, no files.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace ram {

/// Costs of an option besides bytes, in units that the caller chooses (nanoseconds per token, bytes
/// of another memory). Each >= 0; a cost without a limit is ignored.
inline constexpr size_t kOtherCosts = 2;
using OtherCosts = std::array<int64_t, kOtherCosts>;

/// One way to store a unit. bytes >= 0; loss >= 0 and finite.
struct Option {
  int64_t bytes = 0;
  double loss = 0;
  OtherCosts other = {};
};

inline constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

/// What all units together may take. Converts from a number of bytes alone.
struct Limits {
  int64_t bytes = 0;
  OtherCosts other = {kNoLimit, kNoLimit};

  Limits(int64_t most_bytes) : bytes(most_bytes) {}  // NOLINT(google-explicit-constructor)
  Limits(int64_t most_bytes, OtherCosts most_other) : bytes(most_bytes), other(most_other) {}
};

/// Options of all units; every unit has at least one. An option's number is its position in its
/// unit.
struct Knapsack {
  std::vector<std::vector<Option>> units;
};

struct Allocation {
  std::vector<int> choice = {};  ///< per unit: the option's number; empty if not feasible
  int64_t bytes = 0;
  OtherCosts other = {};  ///< sums over the units
  double loss = 0;        ///< sum over the units, rounded once (as audit_choice adds it)
  double lower_bound =
      0;  ///< of the loss of any allocation within the limits; infinity: there is none
  bool feasible = false;
  bool optimal = false;     ///< loss is proven least: lower_bound == loss; else the bound is lower
  int64_t least_bytes = 0;  ///< of the cheapest allocation: nothing fits a smaller budget
  /// The least value found of each limited cost, within the limit of bytes; 0 for the other costs,
  /// and if not even the bytes fit.
  OtherCosts least_other = {};
};

/// Solves to proven optimality, or to a stated gap when time or memory runs out.
///
/// "Least" means within 1e-12 of the loss, about the rounding error of adding 19,000 doubles. Among
/// allocations of equal loss it takes the one with the fewest bytes that it has seen. The answer is
/// a function of the arguments alone unless the time limit is reached. Even then, no change of a
/// single unit that lowers the loss fits into the rest of the budget.
///
/// If other costs are limited too, optimality is proven only for limits that do not bind. The
/// answer is then an allocation that fits, with a proven lower bound; "not feasible" with a finite
/// lower bound means that none was found.
///
/// @pre bytes and other costs >= 0, losses finite and >= 0, the sum of all units' largest bytes
///               below 2^63, that of another limited cost below 2^53.
/// @param time_limit_s wall clock; when it is over, the best allocation and bound so far are
///         returned.
/// @cost 19,000 units x 18 options: under 0.1 s on the shapes of real models. Adversarial ones
///         (losses on one line of terabytes) may not be solved after seconds and 300 MB. With other
///         costs about 50 times as much.
/// @source D. Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 83
///         (1995); H. Everett, Generalized Lagrange multiplier method, Operations Research 11
///         (1963), for other costs; docs/decisions/0003-solver.md
Allocation solve_knapsack(const Knapsack& problem, const Limits& limits, double time_limit_s = 10);

/// The published one-pass greedy algorithm over all pairs of options, as a baseline. It considers
/// bytes only.
///
/// Options of a unit must be in the published order (bits ascending, group size descending); the
/// unit starts at its first. Every pair lo < hi with a positive loss difference is an upgrade with
/// efficiency dloss/dbytes (pairs that cost no bytes come first). Efficiencies are rounded to 41
/// significant bits, so that those that are equal in exact arithmetic are equal here. Upgrades are
/// sorted in descending order (stably) and visited once; one is applied if the unit is exactly at
/// `lo` and the total stays within the budget. lower_bound is the LP bound. Infeasible if the first
/// options do not fit, even if cheaper ones would.
///
/// @cost   19,000 units x 18 options: half a second, 50 MB.
/// @source the published description of RAM, restated by greedy_pairs_test.cpp
Allocation solve_greedy_pairs(const Knapsack& problem, int64_t budget_bytes);

/// A proven lower bound of the loss at this budget, by the LP relaxation. Infinity if nothing fits.
/// @cost O(options log options)
double knapsack_lower_bound(const Knapsack& problem, int64_t budget_bytes);

/// Adds up costs and loss of a choice independently of the solvers, to check their answers.
/// @pre one valid option per unit.
Option audit_choice(const Knapsack& problem, std::span<const int> choice);

}  // namespace ram
