// Knapsacks with more than one limit, by prices for the limited costs other than bytes: the exact
// solver then sees bytes only.
#pragma once

#include <chrono>

#include "ram/allocate.h"

namespace ram {

/// Least loss within the bytes alone (knapsack.cpp). @see solve_knapsack
Allocation solve_bytes(const Knapsack& problem, int64_t budget_bytes,
                       std::chrono::steady_clock::time_point deadline);

/// @pre at least one other cost is limited. @see solve_knapsack
Allocation solve_several(const Knapsack& problem, const Limits& limits,
                         std::chrono::steady_clock::time_point deadline);

}  // namespace ram
