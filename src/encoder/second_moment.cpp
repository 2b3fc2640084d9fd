// Sums of x x^T by tiles of the lower triangle, each on one thread, over blocks of tokens in order.
#include <algorithm>
#include <cmath>

#include "ram/encoder.h"
#include "ram/error.h"
#include "ram/thread.h"

#include "product.h"

namespace ram {
namespace {

constexpr int64_t kTile = 256;
/// Number of tokens whose sums are added to the moment at a time.
constexpr int64_t kTokenBlock = 512;

}  // namespace

SecondMoment::SecondMoment(int64_t cols) : cols_(cols) {
  RAM_CHECK(cols >= 1);
  values_.resize(static_cast<size_t>(cols * cols));
}

void SecondMoment::add(const float* inputs, int64_t tokens, ThreadPool& pool) {
  RAM_CHECK(tokens >= 0);
  const int64_t tiles = (cols_ + kTile - 1) / kTile;
  // The largest tiles first: (row, column) of the lower triangle from the last row up.
  pool.run(tiles * (tiles + 1) / 2, [&](int64_t index, int) {
    int64_t row = 0;
    while ((row + 1) * (row + 2) / 2 <= index) ++row;
    const int64_t column = index - row * (row + 1) / 2;
    const int64_t top = row * kTile;
    const int64_t left = column * kTile;
    const int64_t height = std::min(kTile, cols_ - top);
    const int64_t width = std::min(kTile, cols_ - left);
    for (int64_t first = 0; first < tokens; first += kTokenBlock) {
      multiply({.transpose_a = true,
                .m = height,
                .n = width,
                .k = std::min(kTokenBlock, tokens - first),
                .a = inputs + first * cols_ + top,
                .a_stride = cols_,
                .b = inputs + first * cols_ + left,
                .b_stride = cols_,
                .beta = 1,
                .c = values_.data() + top * cols_ + left,
                .c_stride = cols_});
    }
    for (int64_t i = 0; i < height; ++i) {
      for (int64_t j = 0; j < width && left + j < top + i; ++j) {
        values_[static_cast<size_t>((left + j) * cols_ + top + i)] =
            values_[static_cast<size_t>((top + i) * cols_ + left + j)];
      }
    }
  });
  tokens_ += tokens;
}

void SecondMoment::add(const SecondMoment& other) {
  RAM_CHECK(cols_ == other.cols_);
  for (size_t i = 0; i < values_.size(); ++i) values_[i] += other.values_[i];
  tokens_ += other.tokens_;
}

void SecondMoment::remove(const SecondMoment& other) {
  RAM_CHECK(cols_ == other.cols_ && tokens_ >= other.tokens_);
  for (size_t i = 0; i < values_.size(); ++i) values_[i] -= other.values_[i];
  tokens_ -= other.tokens_;
}

std::vector<float> SecondMoment::diagonal() const {
  std::vector<float> diagonal(static_cast<size_t>(cols_));
  for (int64_t i = 0; i < cols_; ++i) {
    diagonal[static_cast<size_t>(i)] = values_[static_cast<size_t>(i * (cols_ + 1))];
  }
  return diagonal;
}

void SecondMoment::shrink_towards(const SecondMoment& layer, double tokens_worth) {
  RAM_CHECK(cols_ == layer.cols_ && tokens_worth >= 0);
  if (layer.tokens_ == 0) return;
  const auto share = static_cast<float>(tokens_worth / static_cast<double>(layer.tokens_));
  for (size_t i = 0; i < values_.size(); ++i) values_[i] += share * layer.values_[i];
}

}  // namespace ram
