// Cholesky factorization by blocks, from the last column to the first: diagonal blocks by Eigen in
// double precision, everything else as products by oneDNN.
#include "factor.h"

#include <algorithm>

#include <Eigen/Cholesky>
#include <Eigen/Core>

#include "ram/thread.h"

#include "lanes.h"
#include "product.h"

namespace ram {
namespace {

constexpr int64_t kBlockCols = 128;
constexpr int64_t kFactorTile = 256;

using Square = Eigen::MatrixXd;

struct Job {
  std::vector<float>& v;  ///< H on its upper triangle, becoming V with H = V V^T
  int64_t n;
  ThreadPool& pool;
};

/// Factors the diagonal block [first, first + size). @return the inverse of its factor, transposed;
/// empty if it is not positive definite.
Square factor_diagonal(Job& job, int64_t first, int64_t size) {
  // An upper factor from the last column on is a lower factor of the reversed block.
  Square block(size, size);
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      block(i, j) =
          job.v[static_cast<size_t>((first + size - 1 - i) * job.n + first + size - 1 - j)];
    }
  }
  const Eigen::LLT<Square> llt(block);
  if (llt.info() != Eigen::Success) return {};
  const Square lower = llt.matrixL();
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j <= i; ++j) {
      job.v[static_cast<size_t>((first + size - 1 - i) * job.n + first + size - 1 - j)] =
          static_cast<float>(lower(i, j));
    }
  }
  const Square inverse = lower.triangularView<Eigen::Lower>().solve(Square::Identity(size, size));
  return inverse.reverse().transpose();
}

/// Computes columns [first, first + size) above the diagonal block, and subtracts their product
/// from the columns to the left. @param inverse [size, size] as factor_diagonal gives it.
void eliminate(Job& job, int64_t first, int64_t size, const Square& inverse) {
  const int64_t n = job.n;
  std::vector<float> right(static_cast<size_t>(size * size));
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < size; ++j) {
      right[static_cast<size_t>(i * size + j)] = static_cast<float>(inverse(i, j));
    }
  }
  const int64_t tiles = (first + kFactorTile - 1) / kFactorTile;
  job.pool.run(tiles, [&](int64_t tile, int) {
    const int64_t top = tile * kFactorTile;
    const int64_t height = std::min(kFactorTile, first - top);
    std::vector<float> panel(static_cast<size_t>(height * size));
    float* at = job.v.data() + top * n + first;
    multiply({.m = height,
              .n = size,
              .k = size,
              .a = at,
              .a_stride = n,
              .b = right.data(),
              .b_stride = size,
              .c = panel.data(),
              .c_stride = size});
    for (int64_t i = 0; i < height; ++i)
      std::copy_n(&panel[static_cast<size_t>(i * size)], size, at + i * n);
  });
  job.pool.run(tiles * (tiles + 1) / 2, [&](int64_t index, int) {
    int64_t column = 0;
    while ((column + 1) * (column + 2) / 2 <= index) ++column;
    const int64_t left = column * kFactorTile;
    const int64_t top = (index - column * (column + 1) / 2) * kFactorTile;
    multiply({.transpose_b = true,
              .m = std::min(kFactorTile, first - top),
              .n = std::min(kFactorTile, first - left),
              .k = size,
              .alpha = -1,
              .a = job.v.data() + top * n + first,
              .a_stride = n,
              .b = job.v.data() + left * n + first,
              .b_stride = n,
              .beta = 1,
              .c = job.v.data() + top * n + left,
              .c_stride = n});
  });
}

}  // namespace

Factor factor(std::span<const float> moment, int64_t n, double damping, ThreadPool& pool) {
  Factor result;
  result.upper.assign(moment.begin(), moment.end());
  Job job = {result.upper, n, pool};
  for (int64_t i = 0; i < n; ++i) {
    float& d = result.upper[static_cast<size_t>(i * (n + 1))];
    d = static_cast<float>(d + damping);
  }
  // Blocks begin at multiples of their size from the first column, as everywhere.
  for (int64_t first = (n - 1) / kBlockCols * kBlockCols; first >= 0; first -= kBlockCols) {
    const int64_t size = std::min(kBlockCols, n - first);
    const Square inverse = factor_diagonal(job, first, size);
    if (inverse.size() == 0) return {};
    if (first > 0) eliminate(job, first, size, inverse);
  }
  result.pivots.resize(static_cast<size_t>(n));
  std::vector<float> inverse(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const float d = result.upper[static_cast<size_t>(i * (n + 1))];
    result.pivots[static_cast<size_t>(i)] = d * d;
    inverse[static_cast<size_t>(i)] = 1 / d;
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = i + 1; j < n; ++j) {
      result.upper[static_cast<size_t>(i * n + j)] *= inverse[static_cast<size_t>(j)];
    }
  }
  return result;
}

std::vector<float> diagonal_blocks(std::span<const float> values, int64_t n, double on_diagonal) {
  const int64_t blocks = (n + kBlock - 1) / kBlock;
  std::vector<float> result(static_cast<size_t>(blocks * kBlock * kBlock));
  for (int64_t i = 0; i < n; ++i) {
    const int64_t first = i / kBlock * kBlock;
    float* row = result.data() + i * kBlock;
    for (int64_t j = first; j < std::min(first + kBlock, n); ++j) {
      row[j - first] = values[static_cast<size_t>(i * n + j)];
      if (i == j) row[j - first] = static_cast<float>(row[j - first] + on_diagonal);
    }
  }
  return result;
}

}  // namespace ram
