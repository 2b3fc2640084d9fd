// Drift of inputs, and substitution by blocks: products by oneDNN between blocks, row by row within
// them.
#include "aim.h"

#include <algorithm>

#include "ram/encoder.h"
#include "ram/error.h"
#include "ram/thread.h"

#include "lanes.h"
#include "product.h"

namespace ram {
namespace {

constexpr int64_t kDriftTile = 256;
constexpr int64_t kMovedTokens = 512;

/// to -= share * from, for one row of a tile each.
void subtract(float share, const float* from, float* to) {
  for (int64_t r = 0; r < kTileRows; ++r) to[r] -= share * from[r];
}

}  // namespace

Drift::Drift(int64_t cols) : cols_(cols) {
  RAM_CHECK(cols >= 1);
  values_.resize(static_cast<size_t>(cols * cols));
}

void Drift::add(const float* original, const float* compressed, int64_t tokens, ThreadPool& pool) {
  RAM_CHECK(tokens >= 0);
  const int64_t tiles = (cols_ + kDriftTile - 1) / kDriftTile;
  pool.run(tiles, [&](int64_t tile, int) {
    const int64_t top = tile * kDriftTile;
    const int64_t height = std::min(kDriftTile, cols_ - top);
    std::vector<float> moved(static_cast<size_t>(kMovedTokens * height));
    for (int64_t first = 0; first < tokens; first += kMovedTokens) {
      const int64_t here = std::min(kMovedTokens, tokens - first);
      for (int64_t t = 0; t < here; ++t) {
        const int64_t at = (first + t) * cols_ + top;
        for (int64_t i = 0; i < height; ++i) {
          moved[static_cast<size_t>(t * height + i)] = original[at + i] - compressed[at + i];
        }
      }
      multiply({.transpose_a = true,
                .m = height,
                .n = cols_,
                .k = here,
                .a = moved.data(),
                .a_stride = height,
                .b = compressed + first * cols_,
                .b_stride = cols_,
                .beta = 1,
                .c = values_.data() + top * cols_,
                .c_stride = cols_});
    }
  });
}

void Drift::add(const Drift& other, double share) {
  RAM_CHECK(cols_ == other.cols_);
  const auto factor = static_cast<float>(share);
  for (size_t i = 0; i < values_.size(); ++i) values_[i] += factor * other.values_[i];
}

namespace {

/// to -= op(U) tile for blocks of columns; the caller sets a, b, c, m and k.
DenseProduct block_product(int64_t cols) {
  return {.n = kTileRows,
          .alpha = -1,
          .a_stride = cols,
          .b_stride = kTileRows,
          .beta = 1,
          .c_stride = kTileRows};
}

/// Element (first + k, first + j) of U.
float in_block(std::span<const float> blocks, int64_t first, int64_t k, int64_t j) {
  return blocks[static_cast<size_t>((first + k) * kBlock + j)];
}

}  // namespace

void solve_factored(const Factor& factor, std::span<const float> blocks, int64_t cols,
                    float* tile) {
  DenseProduct product = block_product(cols);
  for (int64_t first = (cols - 1) / kBlock * kBlock; first >= 0; first -= kBlock) {
    const int64_t width = std::min(kBlock, cols - first);
    float* here = tile + first * kTileRows;
    product.m = width;
    product.k = cols - first - width;
    product.a = factor.upper.data() + first * cols + first + width;
    product.b = here + width * kTileRows;
    product.c = here;
    multiply(product);
    for (int64_t k = width - 1; k >= 0; --k) {
      for (int64_t j = k + 1; j < width; ++j) {
        subtract(in_block(blocks, first, k, j), here + j * kTileRows, here + k * kTileRows);
      }
    }
  }
  for (int64_t k = 0; k < cols; ++k) {
    const float inverse = 1 / factor.pivots[static_cast<size_t>(k)];
    for (int64_t r = 0; r < kTileRows; ++r) tile[k * kTileRows + r] *= inverse;
  }
  solve_transposed(factor, blocks, cols, tile);
}

void solve_transposed(const Factor& factor, std::span<const float> blocks, int64_t cols,
                      float* tile) {
  DenseProduct product = block_product(cols);
  product.transpose_a = true;
  product.b = tile;
  for (int64_t first = 0; first < cols; first += kBlock) {
    const int64_t width = std::min(kBlock, cols - first);
    float* here = tile + first * kTileRows;
    product.m = width;
    product.k = first;
    product.a = factor.upper.data() + first;
    product.c = here;
    multiply(product);
    for (int64_t k = 0; k < width; ++k) {
      for (int64_t j = 0; j < k; ++j) {
        subtract(in_block(blocks, first, j, k), here + j * kTileRows, here + k * kTileRows);
      }
    }
  }
}

}  // namespace ram
