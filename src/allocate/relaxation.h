// The linear relaxation: the loss of an allocation if formats could be mixed inside a unit. It
// gives the price of a byte, an initial allocation, and a proven bound.
#pragma once

#include <cstdint>
#include <vector>

#include "instance.h"

namespace ram {

/// Every unit takes the option that is best when bytes cost `price`, so that the whole fits.
struct Relaxation {
  double price = 0;            ///< loss that one more step of weight saves; >= 0
  std::vector<uint32_t> base;  ///< per unit: index into Instance::items
  int64_t residual = 0;        ///< capacity left by the base; >= 0
  double base_loss = 0;
  double bound = 0;  ///< no allocation within the capacity has a smaller loss
};

/// @param capacity in steps, >= 0.
/// @cost O(items): the price is found by selection, without sorting all upgrades.
/// @source E. Zemel, The linear multiple choice knapsack problem, Operations Research 28 (1980)
Relaxation relax(const Instance& instance, int64_t capacity);

/// The cost of taking `item` instead of `base`, beyond the price of its bytes: >= 0 up to rounding.
/// The large terms cancel, so the result is computed as if in twice the precision.
double reduced_cost(const Item& base, const Item& item, double price);

}  // namespace ram
