// The usual blocking of a matrix product (Goto and van de Geijn, "Anatomy of high-performance
// matrix multiplication", 2008): a tile of sums in registers, a strip of weights in the L1 cache, a
// block of inputs in L2. Weights are arranged once and inputs for each product.
#include "cpu/tiles.h"

#include <algorithm>
#include <cstddef>

#include <hwy/cache_control.h>

#include "ram/simd_targets.h"
#include "ram/size.h"

#include "cpu/buffer.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/tiles.cpp"
// foreach_target must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using V = hn::Vec<F>;

// A tile is kRows rows by two vectors: 12 or 24 of the 16 or 32 registers.
#if HWY_TARGET <= HWY_AVX3 || HWY_ARCH_ARM_A64
constexpr int64_t kRows = 12;
#else
constexpr int64_t kRows = 6;
#endif

// Rows of a block of inputs: 256 KiB with kTileDepth columns; an L2 cache has 512 KiB or more.
constexpr int64_t kBlockRows = ceil_div(256, kRows) * kRows;

HWY_INLINE int64_t strip_width() {
  return 2 * static_cast<int64_t>(hn::Lanes(F()));
}

/// A row of a tile.
struct Sums {
  V left;
  V right;

  HWY_INLINE void add(float x, V w_left, V w_right) {
    const V factor = hn::Set(F(), x);
    left = hn::MulAdd(factor, w_left, left);
    right = hn::MulAdd(factor, w_right, right);
  }
  HWY_INLINE void store(bool first, float* HWY_RESTRICT y) const {
    const F f;
    const size_t lanes = hn::Lanes(f);
    if (first) {
      hn::StoreU(left, f, y);
      hn::StoreU(right, f, y + lanes);
    } else {
      hn::StoreU(hn::Add(hn::LoadU(f, y), left), f, y);
      hn::StoreU(hn::Add(hn::LoadU(f, y + lanes), right), f, y + lanes);
    }
  }
};

HWY_INLINE Sums none() {
  return {hn::Zero(F()), hn::Zero(F())};
}

/// One tile over `depth` columns: x [depth, kRows], w [depth, strip_width()]. Rows are separate
/// variables, since an array of them does not stay in registers.
HWY_INLINE void multiply_tile(const float* HWY_RESTRICT x, const float* HWY_RESTRICT w,
                              int64_t depth, bool first, float* y, int64_t stride) {
  const F f;
  const size_t lanes = hn::Lanes(f);
  Sums r0 = none();
  Sums r1 = none();
  Sums r2 = none();
  Sums r3 = none();
  Sums r4 = none();
  Sums r5 = none();
  Sums r6 = none();
  Sums r7 = none();
  Sums r8 = none();
  Sums r9 = none();
  Sums r10 = none();
  Sums r11 = none();
  for (int64_t i = 0; i < kRows; ++i) hwy::Prefetch(y + i * stride);
  for (int64_t l = 0; l < depth; ++l) {
    const V left = hn::Load(f, w);
    const V right = hn::Load(f, w + lanes);
    r0.add(x[0], left, right);
    r1.add(x[1], left, right);
    r2.add(x[2], left, right);
    r3.add(x[3], left, right);
    r4.add(x[4], left, right);
    r5.add(x[5], left, right);
    if constexpr (kRows == 12) {
      r6.add(x[6], left, right);
      r7.add(x[7], left, right);
      r8.add(x[8], left, right);
      r9.add(x[9], left, right);
      r10.add(x[10], left, right);
      r11.add(x[11], left, right);
    }
    x += kRows;
    w += 2 * lanes;
  }
  r0.store(first, y);
  r1.store(first, y + stride);
  r2.store(first, y + 2 * stride);
  r3.store(first, y + 3 * stride);
  r4.store(first, y + 4 * stride);
  r5.store(first, y + 5 * stride);
  if constexpr (kRows == 12) {
    r6.store(first, y + 6 * stride);
    r7.store(first, y + 7 * stride);
    r8.store(first, y + 8 * stride);
    r9.store(first, y + 9 * stride);
    r10.store(first, y + 10 * stride);
    r11.store(first, y + 11 * stride);
  }
}

/// The same where only `rows` rows and `cols` columns of y exist.
HWY_NOINLINE void multiply_edge(const float* x, const float* w, int64_t depth, bool first,
                                int64_t rows, int64_t cols, float* y, int64_t stride) {
  constexpr int64_t kWidth = 2 * hn::MaxLanes(F());
  HWY_ALIGN float sums[kRows * kWidth];
  multiply_tile(x, w, depth, true, sums, kWidth);
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) {
      float& sum = y[i * stride + j];
      sum = first ? sums[i * kWidth + j] : sum + sums[i * kWidth + j];
    }
  }
}

/// Transposes `rows` rows of `in`, `stride` apart: out[l * width + i] = in[i * stride + l], zero
/// from i = rows on.
HWY_INLINE void set_side_by_side(const float* in, int64_t stride, int64_t rows, int64_t depth,
                                 int64_t width, float* HWY_RESTRICT out) {
  if (rows < width) std::fill(out, out + depth * width, 0.0F);
  int64_t done = 0;
#if HWY_TARGET != HWY_SCALAR
  const hn::FixedTag<float, 4> four;
  const int64_t fours = depth / 4 * 4;
  // The last four may overlap the previous ones.
  for (int64_t i = 0; rows >= 4 && i < rows; i += 4) {
    const int64_t row = std::min(i, rows - 4);
    const float* from = in + row * stride;
    for (int64_t l = 0; l < fours; l += 4) {
      const auto a = hn::LoadU(four, from + l);
      const auto b = hn::LoadU(four, from + stride + l);
      const auto c = hn::LoadU(four, from + 2 * stride + l);
      const auto d = hn::LoadU(four, from + 3 * stride + l);
      const auto ab = hn::InterleaveLower(four, a, b);
      const auto cd = hn::InterleaveLower(four, c, d);
      const auto ab_high = hn::InterleaveUpper(four, a, b);
      const auto cd_high = hn::InterleaveUpper(four, c, d);
      float* to = out + l * width + row;
      hn::StoreU(hn::ConcatLowerLower(four, cd, ab), four, to);
      hn::StoreU(hn::ConcatUpperUpper(four, cd, ab), four, to + width);
      hn::StoreU(hn::ConcatLowerLower(four, cd_high, ab_high), four, to + 2 * width);
      hn::StoreU(hn::ConcatUpperUpper(four, cd_high, ab_high), four, to + 3 * width);
    }
    done = fours;
  }
#endif
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t l = done; l < depth; ++l) out[l * width + i] = in[i * stride + l];
  }
}

int64_t tiled_floats_vector(int64_t n, int64_t k) {
  return ceil_div(n, strip_width()) * strip_width() * k;
}

/// Strips of kTileDepth columns one after another, those of the same columns together.
void tile_weights_vector(const float* weights, int64_t row_stride, int64_t col_stride, int64_t n,
                         int64_t k, float* HWY_RESTRICT tiled) {
  const int64_t width = strip_width();
  for (int64_t from = 0; from < k; from += kTileDepth) {
    const int64_t depth = std::min(kTileDepth, k - from);
    for (int64_t strip = 0; strip < n; strip += width) {
      const int64_t count = std::min(width, n - strip);
      const float* in = weights + strip * row_stride + from * col_stride;
      if (row_stride == 1) {
        for (int64_t l = 0; l < depth; ++l) {
          std::copy_n(in + l * col_stride, count, tiled + l * width);
          std::fill(tiled + l * width + count, tiled + (l + 1) * width, 0.0F);
        }
      } else {
        set_side_by_side(in, row_stride, count, depth, width, tiled);
      }
      tiled += width * depth;
    }
  }
}

void multiply_tiled_vector(const TiledProduct& p) {
  thread_local ThreadBuffer block;
  const int64_t width = strip_width();
  for (int64_t row = 0; row < p.rows; row += kBlockRows) {
    const int64_t rows = std::min(kBlockRows, p.rows - row);
    const int64_t tiles = ceil_div(rows, kRows);
    auto* HWY_RESTRICT inputs = reinterpret_cast<float*>(
        block.at_least(static_cast<size_t>(tiles * kRows * kTileDepth) * sizeof(float)));
    for (int64_t from = 0; from < p.k; from += kTileDepth) {
      const int64_t depth = std::min(kTileDepth, p.k - from);
      for (int64_t tile = 0; tile < tiles; ++tile) {
        set_side_by_side(p.x + (row + tile * kRows) * p.x_stride + from, p.x_stride,
                         std::min(kRows, rows - tile * kRows), depth, kRows,
                         inputs + tile * kRows * depth);
      }
      const int64_t col = p.first_col + from;
      const int64_t tiled_depth = std::min(kTileDepth, p.tiled_k - col);
      const float* w = p.tiled + tiled_floats_vector(p.tiled_n, col) + p.first_row * tiled_depth;
      for (int64_t strip = 0; strip < p.n; strip += width) {
        const int64_t cols = std::min(width, p.n - strip);
        for (int64_t tile = 0; tile < tiles; ++tile) {
          const float* x = inputs + tile * kRows * depth;
          const int64_t count = std::min(kRows, rows - tile * kRows);
          float* y = p.y + (row + tile * kRows) * p.y_stride + strip;
          if (count == kRows && cols == width) {
            multiply_tile(x, w, depth, from == 0, y, p.y_stride);
          } else {
            multiply_edge(x, w, depth, from == 0, count, cols, y, p.y_stride);
          }
        }
        w += width * tiled_depth;
      }
    }
  }
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(tiled_floats_vector);
HWY_EXPORT(tile_weights_vector);
HWY_EXPORT(multiply_tiled_vector);

int64_t tiled_floats(int64_t n, int64_t k) {
  return HWY_DYNAMIC_DISPATCH(tiled_floats_vector)(n, k);
}

void tile_weights(const float* weights, int64_t row_stride, int64_t col_stride, int64_t n,
                  int64_t k, float* tiled) {
  HWY_DYNAMIC_DISPATCH(tile_weights_vector)(weights, row_stride, col_stride, n, k, tiled);
}

void multiply_tiled(const TiledProduct& product) {
  HWY_DYNAMIC_DISPATCH(multiply_tiled_vector)(product);
}

}  // namespace ram
#endif  // HWY_ONCE
