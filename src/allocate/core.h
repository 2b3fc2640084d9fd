// The undecided part of a knapsack: the units whose best option at the price of a byte is not
// certain, and for each the moves away from it that could be part of a better allocation.
//
// Losses are counted here in whole units of `Core::resolution`, above the relaxation's bound, so
// that equality is exact and nothing depends on the order of summation.
#pragma once

#include <cstdint>
#include <vector>

#include "instance.h"
#include "relaxation.h"

namespace ram {

/// A change from the base's item to another one.
struct Move {
  int64_t weight = 0;  ///< change of weight, of either sign
  int64_t cost = 0;    ///< reduced cost, >= 0
  uint32_t unit = 0;
  uint32_t item = 0;  ///< index into Instance::items
};

struct Core {
  std::vector<Move> moves;      ///< unit by unit; within a unit by weight
  std::vector<uint32_t> first;  ///< group g has moves [first[g], first[g + 1]) of one unit
  double price = 0;             ///< of a step of weight, in units of `resolution`
  int64_t residual = 0;         ///< capacity left when no move is taken

  size_t groups() const { return first.size() - 1; }
  std::span<const Move> group(size_t g) const {
    return std::span(moves).subspan(first[g], first[g + 1] - first[g]);
  }
};

/// All moves that cost at most `gap` (in loss), the unit with the cheapest move per step of weight
/// first.
Core make_core(const Instance& instance, const Relaxation& relaxed, double gap, double resolution);

/// Splits a core into one or two that together still hold an optimal allocation.
///
/// If many units can go up by some weight at almost no cost and many others down by the same
/// weight, there are countless useless partial allocations that do both: undoing a pair of opposite
/// moves keeps the weight and never raises the cost. So one part has no such moves down, the other
/// none up.
///
/// @param gap  the cost that moves are measured against.
std::vector<Core> split_core(Core core, int64_t gap);

}  // namespace ram
