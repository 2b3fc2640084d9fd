// A knapsack prepared for the solvers: only options that are best for some budget, with sizes
// relative to each unit's cheapest option and divided by their common divisor.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ram/allocate.h"

namespace ram {

/// An option that no other option of its unit beats in both bytes and loss.
struct Item {
  int64_t weight = 0;  ///< (bytes - bytes of the unit's cheapest) / Instance::step
  double loss = 0;
  int32_t option = 0;  ///< its number in the problem
};

struct Instance {
  std::vector<Item> items;  ///< unit by unit; weight ascending from 0, loss descending, strictly
  std::vector<uint32_t> first;  ///< unit u has items [first[u], first[u + 1])
  int64_t least_bytes = 0;      ///< of the cheapest allocation
  int64_t step = 1;             ///< greatest common divisor of all differences in bytes

  size_t units() const { return first.size() - 1; }
  std::span<const Item> unit(size_t u) const {
    return std::span(items).subspan(first[u], first[u + 1] - first[u]);
  }
  /// Whole steps of a budget above the cheapest allocation.
  /// @pre budget_bytes >= least_bytes.
  int64_t capacity(int64_t budget_bytes) const { return (budget_bytes - least_bytes) / step; }
};

/// Of options with equal bytes and loss the first remains.
/// @cost O(options log options)
Instance make_instance(const Knapsack& problem);

}  // namespace ram
