// How much damping error feedback needs, judged by inputs that were held out.
#include "damping.h"

#include <algorithm>
#include <limits>

#include "ram/encoder.h"
#include "ram/error.h"
#include "ram/random.h"
#include "ram/thread.h"

#include "aim.h"
#include "factor.h"
#include "product.h"
#include "tile.h"

namespace ram {
namespace {

constexpr int64_t kRowsAtOnce = 256;

double mean_of(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value};
  return sum / static_cast<double>(values.size());
}

/// Independent errors of one size: [cols, kTileRows] of 1 and -1.
Aligned<float> random_signs(int64_t cols) {
  Aligned<float> signs(cols * kTileRows);
  SplitMix64 random(static_cast<uint64_t>(cols));
  for (int64_t i = 0; i < cols * kTileRows; ++i) {
    signs.data()[i] = (random.next() >> 63) != 0 ? 1.0F : -1.0F;
  }
  return signs;
}

}  // namespace

double held_loss(const HeldOut& inputs, double damping, ThreadPool& pool) {
  const int64_t cols = inputs.rest->cols();
  const double mean = mean_of(inputs.rest->diagonal());
  if (mean == 0) return 0;  // inputs of zeros are encoded without feedback
  const Factor factored = factor(inputs.rest->values(), cols, damping * mean, pool);
  if (factored.pivots.empty()) return std::numeric_limits<double>::infinity();
  const Aligned<float> errors = random_signs(cols);
  solve_transposed(factored, diagonal_blocks(factored.upper, cols, 0), cols, errors.data());
  std::vector<double> sums(static_cast<size_t>((cols + kRowsAtOnce - 1) / kRowsAtOnce));
  pool.run(std::ssize(sums), [&](int64_t block, int) {
    const int64_t first = block * kRowsAtOnce;
    const int64_t rows = std::min(kRowsAtOnce, cols - first);
    std::vector<float> products(static_cast<size_t>(rows * kTileRows));
    multiply({.m = rows,
              .n = kTileRows,
              .k = cols,
              .a = inputs.held->values().data() + first * cols,
              .a_stride = cols,
              .b = errors.data(),
              .b_stride = kTileRows,
              .c = products.data(),
              .c_stride = kTileRows});
    double sum = 0;
    for (int64_t i = 0; i < rows * kTileRows; ++i) {
      sum +=
          double{products[static_cast<size_t>(i)]} * double{errors.data()[first * kTileRows + i]};
    }
    sums[static_cast<size_t>(block)] = sum;
  });
  double sum = 0;
  for (const double part : sums) sum += part;
  const double without = mean_of(inputs.held->diagonal()) * static_cast<double>(cols * kTileRows);
  return without > 0 ? sum / without : 0;
}

double choose_damping(std::span<const HeldOut> inputs, ThreadPool& pool) {
  RAM_CHECK(!inputs.empty());
  double best = kDampings[0];
  double least = std::numeric_limits<double>::infinity();
  for (const double damping : kDampings) {
    double loss = 0;
    for (const HeldOut& each : inputs) loss += held_loss(each, damping, pool);
    if (loss < least) {
      best = damping;
      least = loss;
    } else if (least < std::numeric_limits<double>::infinity()) {
      break;
    }
  }
  return best;
}

}  // namespace ram
