// A unit's weights as the engine takes them.
#pragma once

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

}  // namespace ram
