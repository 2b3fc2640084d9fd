// Solves with the factor of a damped second moment, for the rows of a tile in parallel.
#pragma once

#include <cstdint>
#include <span>

#include "factor.h"

namespace ram {

/// tile [cols, kTileRows] becomes the inverse of U D U^T times it.
/// @param blocks [cols, kBlock]: the diagonal blocks of U.
void solve_factored(const Factor& factor, std::span<const float> blocks, int64_t cols, float* tile);

/// tile [cols, kTileRows] becomes the inverse of the transpose of U times it.
void solve_transposed(const Factor& factor, std::span<const float> blocks, int64_t cols,
                      float* tile);

}  // namespace ram
