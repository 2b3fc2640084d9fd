#include "cpu/tiles.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <vector>

#include <gtest/gtest.h>

#include "ram/simd_targets.h"

#include "cpu/buffer.h"
#include "support/random_values.h"

namespace ram {
namespace {

bool fuses() {
#if defined(__aarch64__)
  return true;
#else
  return (hwy::SupportedTargets() & (HWY_AVX2 | HWY_AVX3 | HWY_AVX3_DL)) != 0;
#endif
}

std::vector<float> values(int64_t count, uint64_t seed) {
  return testing::random_values(seed, "values", count, 0, 1);
}

/// The guarantee in tiles.h, one number at a time.
float truth(const float* x, const float* w, int64_t w_stride, int64_t k) {
  float total = 0;
  for (int64_t from = 0; from < k; from += kTileDepth) {
    float sum = 0;
    for (int64_t l = from; l < std::min(k, from + kTileDepth); ++l) {
      sum = std::fma(x[l], w[l * w_stride], sum);
    }
    total = from == 0 ? sum : total + sum;
  }
  return total;
}

struct Tiled {
  Tiled(const float* weights, int64_t row_stride, int64_t col_stride, int64_t n_in, int64_t k_in)
      : n(n_in), k(k_in) {
    data = reinterpret_cast<float*>(buffer.at_least(static_cast<size_t>(tiled_floats(n, k)) * 4));
    tile_weights(weights, row_stride, col_stride, n, k, data);
  }
  /// With all the weights.
  TiledProduct product(const std::vector<float>& x, int64_t x_stride, int64_t rows,
                       std::vector<float>& y, int64_t y_stride) const {
    return {.x = x.data(),
            .x_stride = x_stride,
            .rows = rows,
            .tiled = data,
            .tiled_n = n,
            .tiled_k = k,
            .n = n,
            .k = k,
            .y = y.data(),
            .y_stride = y_stride};
  }
  ThreadBuffer buffer;
  float* data;
  int64_t n;
  int64_t k;
};

TEST(Tiles, GiveTheirChainsOfSumsToTheBit) {
  if (!fuses()) GTEST_SKIP() << "this processor has no fused multiply-add";
  // Edges of tiles, strips and blocks: 6 or 12 rows, two vectors, kTileDepth columns, 258 rows.
  for (const auto& [rows, n, k] : {std::tuple<int64_t, int64_t, int64_t>{1, 1, 1},
                                   {5, 15, 3},
                                   {6, 16, 256},
                                   {13, 33, 257},
                                   {259, 70, 517},
                                   {300, 8, 40}}) {
    const int64_t x_stride = k + 3;
    const int64_t y_stride = n + 2;
    const auto x = values(rows * x_stride, 1);
    const auto w = values(n * k, 2);
    const Tiled tiled(w.data(), k, 1, n, k);
    std::vector<float> y(static_cast<size_t>(rows * y_stride), -7.0F);
    multiply_tiled(tiled.product(x, x_stride, rows, y, y_stride));
    for (int64_t i = 0; i < rows; ++i) {
      for (int64_t j = 0; j < y_stride; ++j) {
        const float expected = j < n ? truth(&x[i * x_stride], &w[j * k], 1, k) : -7.0F;
        ASSERT_EQ(y[i * y_stride + j], expected) << rows << " x " << n << " x " << k;
      }
    }
  }
}

TEST(Tiles, OfAPartOfTheWeightsAreThoseOfThePart) {
  const int64_t rows = 9;
  const int64_t n = 700;
  const int64_t k = 800;
  const auto w = values(n * k, 4);
  const Tiled tiled(w.data(), k, 1, n, k);
  for (const auto& [first_row, count, first_col, depth] :
       {std::tuple<int64_t, int64_t, int64_t, int64_t>{0, 300, 0, 300},
        {256, 444, 512, 288},
        {512, 17, 768, 32},
        {512, 188, 256, 257}}) {
    const auto x = values(rows * depth, 5);
    const Tiled part(&w[first_row * k + first_col], k, 1, count, depth);
    std::vector<float> found(static_cast<size_t>(rows * count));
    auto expected = found;
    TiledProduct product = tiled.product(x, depth, rows, found, count);
    product.first_row = first_row;
    product.n = count;
    product.first_col = first_col;
    product.k = depth;
    multiply_tiled(product);
    multiply_tiled(part.product(x, depth, rows, expected, count));
    EXPECT_EQ(found, expected);
  }
}

TEST(Tiles, TakeWeightsInEitherOrder) {
  const int64_t n = 37;
  const int64_t k = 300;
  const auto w = values(n * k, 3);
  std::vector<float> transposed(w.size());
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t l = 0; l < k; ++l) transposed[l * n + i] = w[i * k + l];
  }
  const Tiled a(w.data(), k, 1, n, k);
  const Tiled b(transposed.data(), 1, n, n, k);
  EXPECT_TRUE(std::equal(a.data, a.data + tiled_floats(n, k), b.data));
}

}  // namespace
}  // namespace ram
