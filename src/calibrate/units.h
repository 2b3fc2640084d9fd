// A unit's weights as the engine takes them, and the seed of what disturbs them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/thread.h"

namespace ram {

/// @return all parts of a unit one after another, float32, cast to `dtype` first where that is
///         given: [parts, rows, cols].
/// @pre    the unit is stored unquantized.
std::vector<float> read_unit(const Checkpoint& checkpoint, int unit, std::optional<DType> dtype,
                             ThreadPool& pool);

/// The seed of a unit's noise, from the seed of all and the number of the repetition.
constexpr uint64_t noise_seed(uint64_t seed, int unit, int repetition) {
  return seed + static_cast<uint64_t>(repetition) * 1'000'003U +
         static_cast<uint64_t>(unit) * 7919U;
}

}  // namespace ram
