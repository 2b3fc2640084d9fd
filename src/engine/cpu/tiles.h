// Float32 products whose sums stay in registers: those of attention, and those with weights where
// oneDNN has no layout of its own. Every result is one chain of fused multiply-adds over each
// kTileDepth columns, then a plain sum of those: independent of the other rows and of the vector
// width.
#pragma once

#include <cstdint>

namespace ram {

/// Columns whose sums are kept in registers: a strip of weights of this length stays in the L1
/// cache, kRowBlock rows of inputs in L2.
inline constexpr int64_t kTileDepth = 256;

/// Floats of tiled weights [n, k].
int64_t tiled_floats(int64_t n, int64_t k);

/// Arranges weights for multiply_tiled(). Element (i, l) is read at weights[i * row_stride +
/// l * col_stride], one of which is 1. `tiled` is aligned to 64 bytes.
void tile_weights(const float* weights, int64_t row_stride, int64_t col_stride, int64_t n,
                  int64_t k, float* tiled);

/// y = x W^T on this thread, for rows [first_row, first_row + n) and columns [first_col, first_col
/// + k) of the tiled [tiled_n, tiled_k], which begin at multiples of kTileDepth.
struct TiledProduct {
  const float* x = nullptr;  ///< [rows, k], rows `x_stride` apart
  int64_t x_stride = 0;
  int64_t rows = 0;
  const float* tiled = nullptr;
  int64_t tiled_n = 0;
  int64_t tiled_k = 0;
  int64_t first_row = 0;
  int64_t n = 0;
  int64_t first_col = 0;
  int64_t k = 0;
  float* y = nullptr;  ///< [rows, n], rows `y_stride` apart; nothing else is written
  int64_t y_stride = 0;
};
void multiply_tiled(const TiledProduct& product);

}  // namespace ram
