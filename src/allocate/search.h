// The exact search over a core: a dynamic programme whose states are partial allocations, pruned by
// bound and by dominance.
#pragma once

#include <chrono>
#include <cstdint>
#include <vector>

#include "core.h"

namespace ram {

/// The best allocation known: base plus moves.
struct Incumbent {
  int64_t cost = 0;             ///< of its moves, plus the price of unused capacity
  int64_t weight = 0;           ///< of its moves
  std::vector<uint32_t> items;  ///< of its moves: indices into Instance::items
};

struct SearchLimits {
  size_t states = 0;      ///< the most partial allocations; beyond, the least promising are dropped
  int64_t tolerance = 0;  ///< improvements below this cost are ignored
  std::chrono::steady_clock::time_point deadline;
};

/// Improves `incumbent` in place; of allocations of equal cost the lighter one is better.
///
/// @return a lower bound up to `tolerance` of any allocation's cost: the incumbent's cost if it is
///         proven best, less if states were dropped or the time was up.
/// @cost   O(groups * states * moves of a group) at most; 24 bytes per state and 12 per move of a
///         state's history.
int64_t search_core(const Core& core, const SearchLimits& limits, Incumbent& incumbent);

}  // namespace ram
