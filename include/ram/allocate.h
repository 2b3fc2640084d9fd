// The multiple-choice knapsack: one option per unit, bytes and perhaps other costs within limits,
// least loss. Numbers only: no tensor and no file.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace ram {

/// What an option takes of what may be limited beside bytes, in units of the caller's (nanoseconds
/// per token, bytes of another memory). Each >= 0; one that is not limited counts for nothing.
inline constexpr size_t kOtherCosts = 2;
using OtherCosts = std::array<int64_t, kOtherCosts>;

/// One way to store a unit. bytes >= 0; loss >= 0 and finite.
struct Option {
  int64_t bytes = 0;
  double loss = 0;
  OtherCosts other = {};
};

inline constexpr int64_t kNoLimit = std::numeric_limits<int64_t>::max();

/// What all units together may take. A number of bytes alone is a limit too.
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
  std::vector<int> choice;  ///< per unit: the option's number; empty if not feasible
  int64_t bytes = 0;
  OtherCosts other = {};  ///< sums over the units
  double loss = 0;        ///< sum over the units, rounded once (as audit_choice adds it)
  double lower_bound =
      0;  ///< no allocation within the limits has a smaller loss; infinity: none is
  bool feasible = false;
  bool optimal = false;     ///< loss is proven least; then lower_bound == loss, else it is below
  int64_t least_bytes = 0;  ///< of the cheapest allocation: the budget below which nothing fits
  /// The least found of each limited cost within the limit of bytes; 0 of others, and where the
  /// bytes alone do not fit.
  OtherCosts least_other = {};
};

/// Solves to proven optimality, or to a stated gap when the time or the memory is up.
///
/// "Least" means up to 1e-12 of the loss, about what adding 19,000 doubles may lose. Of allocations
/// of equal loss it takes one with the fewest bytes it has met; the answer is a function of the
/// arguments alone as long as the time limit does not strike. No single change of one unit that
/// lowers the loss fits in what is left of the budget, whether or not a limit struck.
///
/// Where other costs are limited too, that is not proven but for limits that do not bind: the
/// answer is one that fits, with a proven lower bound. Not feasible with a finite lower bound then
/// means that none was found.
///
/// @pre          bytes and other costs >= 0, losses finite and >= 0, the sum of all units' largest
///               bytes below 2^63, that of an other limited cost below 2^53.
/// @param time_limit_s wall clock; the answer then carries the best allocation and bound so far.
/// @cost   19,000 units x 18 options: under 0.1 s on the shapes of real models. Adversarial ones
///         (losses on one line of terabytes) may stay open after seconds and 300 MB. With other
///         costs some 50 times that.
/// @source D. Pisinger, A minimal algorithm for the multiple-choice knapsack problem, EJOR 83
///         (1995); H. Everett, Generalized Lagrange multiplier method, Operations Research 11
///         (1963), for other costs; docs/decisions/0003-solver.md
Allocation solve_knapsack(const Knapsack& problem, const Limits& limits, double time_limit_s = 10);

/// The published one-pass greedy over all pairs of options; kept as the baseline it is. It knows
/// bytes only.
///
/// Options of a unit must be in the published order (bits ascending, group size descending); the
/// unit starts at its first. Every pair lo < hi with a positive loss difference is an upgrade with
/// efficiency dloss/dbytes (pairs that cost no bytes come first), to 41 significant bits so that
/// what is equal in numbers on paper is equal here; stable-sorted descending, one pass, applied if
/// the unit is exactly at `lo` and the total stays within the budget. lower_bound is the LP bound.
/// Infeasible if the first options do not fit, even if cheaper ones would.
///
/// @cost   19,000 units x 18 options: half a second, 50 MB.
/// @source the published description of RAM, restated by greedy_pairs_test.cpp
Allocation solve_greedy_pairs(const Knapsack& problem, int64_t budget_bytes);

/// A proven lower bound of the loss at this budget: the LP relaxation. Infinity if nothing fits.
/// @cost O(options log options)
double knapsack_lower_bound(const Knapsack& problem, int64_t budget_bytes);

/// Adds costs and loss of a choice from scratch, apart from the solvers, to check their answers.
/// @pre one valid option per unit.
Option audit_choice(const Knapsack& problem, std::span<const int> choice);

}  // namespace ram
