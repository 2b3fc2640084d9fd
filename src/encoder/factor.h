// The factor that error feedback needs: H = U D U^T, U upper with ones on its diagonal, D diagonal.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ram/thread.h"

namespace ram {

struct Factor {
  std::vector<float> upper;   ///< [n, n]: U above its diagonal; the rest is undefined
  std::vector<float> pivots;  ///< [n]: D
};

/// @param moment [n, n], symmetric; `damping` is added to its diagonal.
/// @return the factor, or an empty one if a pivot is not positive.
Factor factor(std::span<const float> moment, int64_t n, double damping, ThreadPool& pool);

/// The diagonal blocks [kBlock, kBlock] of a matrix [n, n], one after the other.
std::vector<float> diagonal_blocks(std::span<const float> values, int64_t n, double on_diagonal);

}  // namespace ram
