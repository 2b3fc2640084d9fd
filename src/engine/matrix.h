// What a Matrix has room for beside its elements, so that a backend on the CPU can work in its
// memory.
#pragma once

#include <cstdint>

namespace ram {

/// The rows of a block are padded to a multiple of this: inputs of products must be readable and
/// outputs writable up to there. The contents of the padding rows do not matter.
inline constexpr int64_t kRowStep = 16;

/// Rows that a matrix of `rows` rows must have room for.
constexpr int64_t padded_rows(int64_t rows) {
  return (rows + kRowStep - 1) / kRowStep * kRowStep;
}

/// Bytes kept readable and writable past the end of every buffer, for the last vector.
inline constexpr int64_t kSlackBytes = 64;

}  // namespace ram
