// FeedbackEncoder: tiles of rows in parallel, blocks of columns in order; products by oneDNN
// between blocks, the lanes of lanes.cpp within a block.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ram/encoder.h"
#include "ram/error.h"
#include "ram/thread.h"

#include "aim.h"
#include "factor.h"
#include "product.h"
#include "tile.h"

namespace ram {
namespace {

/// Calls work(first, width) for each block of columns.
template <typename Work>
void for_blocks(int64_t cols, const Work& work) {
  for (int64_t first = 0; first < cols; first += kBlock) {
    work(first, std::min(kBlock, cols - first));
  }
}

/// Factors of the groups' diagonal blocks of a moment, if they could be factored, and the row sums
/// of these blocks.
struct GroupFactors {
  std::vector<float> row_sums;    ///< [cols]
  std::vector<float> feedback;    ///< [cols, kBlock], as diagonal_blocks
  std::vector<float> pivots;      ///< [cols]
  std::vector<float> importance;  ///< [cols]
};

GroupFactors factor_groups(std::span<const float> moments, int64_t cols, int64_t size) {
  GroupFactors result;
  result.feedback.resize(moments.size());
  result.pivots.resize(static_cast<size_t>(cols));
  result.importance.resize(static_cast<size_t>(cols));
  result.row_sums.resize(static_cast<size_t>(cols));
  ThreadPool pool(1);
  std::vector<float> block(static_cast<size_t>(size * size));
  for (int64_t first = 0; first < cols; first += size) {
    for (int64_t i = 0; i < size; ++i) {
      std::copy_n(moments.data() + (first + i) * kBlock + first % kBlock, size,
                  &block[static_cast<size_t>(i * size)]);
    }
    for (int64_t i = 0; i < size; ++i) {
      const float* row = &block[static_cast<size_t>(i * size)];
      result.row_sums[static_cast<size_t>(first + i)] = std::accumulate(row, row + size, 0.0F);
    }
    if (result.pivots.empty()) continue;
    const Factor found = factor(block, size, 0, pool);
    if (found.pivots.empty()) {
      result.pivots.clear();
      continue;
    }
    for (int64_t i = 0; i < size; ++i) {
      std::copy_n(&found.upper[static_cast<size_t>(i * size)], size,
                  result.feedback.data() + (first + i) * kBlock + first % kBlock);
      const float pivot = found.pivots[static_cast<size_t>(i)];
      result.pivots[static_cast<size_t>(first + i)] = pivot;
      result.importance[static_cast<size_t>(first + i)] =
          std::sqrt(pivot * block[static_cast<size_t>(i * (size + 1))]);
    }
  }
  result.importance = normalized(result.importance, cols);
  return result;
}

}  // namespace

struct FeedbackEncoder::State {
  const SecondMoment* moment = nullptr;
  FeedbackOptions options;
  float damping = 0;              ///< added to each diagonal element
  Factor factor;                  ///< empty: the moment is zero
  std::vector<float> feedback;    ///< diagonal blocks of factor.upper
  std::vector<float> moments;     ///< diagonal blocks of the damped moment
  std::vector<float> importance;  ///< [cols], for groups with feedback
  std::vector<float> plain;       ///< [cols], for plain rounding: the diagonal

  int64_t cols() const { return moment->cols(); }
  SearchEffort effort() const {
    return options.grid == GroupGrid::kSearch ? kSearchEffort : SearchEffort{};
  }

  void quantize(const Tile& tile, const EncodedTile& encoded, float* error, float* cost) const;
  bool round(const Tile& tile, const EncodedTile& encoded, float* error, const float* most,
             float* cost) const;
  void descend(const Tile& tile, const EncodedTile& encoded, const GroupFactors& groups,
               float* error, float* cost) const;
  DenseProduct transposed(int64_t first, int64_t width, const float* error, float* to) const;
};

/// to [width, kTileRows] += the columns [first, first + width) of U above its diagonal block,
/// transposed, times error [first, kTileRows].
DenseProduct FeedbackEncoder::State::transposed(int64_t first, int64_t width, const float* error,
                                                float* to) const {
  return {.transpose_a = true,
          .m = width,
          .n = kTileRows,
          .k = first,
          .a = factor.upper.data() + first,
          .a_stride = cols(),
          .b = error,
          .b_stride = kTileRows,
          .beta = 1,
          .c = to,
          .c_stride = kTileRows};
}

/// Quantizes with error feedback: sets scales, codes, error [cols, kTileRows] and each row's cost.
void FeedbackEncoder::State::quantize(const Tile& tile, const EncodedTile& encoded, float* error,
                                      float* cost) const {
  const Aligned<float> target(kBlock * kTileRows);
  std::fill_n(cost, kTileRows, 0.0F);
  for_blocks(cols(), [&](int64_t first, int64_t width) {
    FeedbackBlock block;
    static_cast<TileBlock&>(block) = block_of(tile, encoded, first, width);
    std::copy_n(block.weights, width * kTileRows, target.data());
    multiply(transposed(first, width, error, target.data()));
    block.effort = effort();
    block.importance = importance.data() + first;
    block.tries = options.tries;
    block.target = target.data();
    block.error = error + first * kTileRows;
    block.feedback = feedback.data() + first * kBlock;
    block.pivots = factor.pivots.data() + first;
    block.objective = cost;
    feedback_block(block);
  });
}

/// Quantizes by plain rounding with the same rule, and sets each row's cost: the pivots times the
/// squares of U^T error. Costs only grow from block to block: once every row has reached `most`
/// [kTileRows], which is usually soon, it stops. @return whether it finished.
bool FeedbackEncoder::State::round(const Tile& tile, const EncodedTile& encoded, float* error,
                                   const float* most, float* cost) const {
  const Aligned<float> product(kBlock * kTileRows);
  std::fill_n(cost, kTileRows, 0.0F);
  for (int64_t first = 0; first < cols(); first += kBlock) {
    const int64_t width = std::min(kBlock, cols() - first);
    TileBlock block = block_of(tile, encoded, first, width);
    block.effort = effort();
    block.importance = plain.data() + first;
    search_block(block, error + first * kTileRows);
    std::copy_n(error + first * kTileRows, width * kTileRows, product.data());
    multiply(transposed(first, width, error, product.data()));
    for (int64_t k = 0; k < width; ++k) {
      float* to = product.data() + k * kTileRows;
      for (int64_t j = 0; j < k; ++j) {
        const float share = feedback[static_cast<size_t>((first + j) * kBlock + k)];
        const float* from = error + (first + j) * kTileRows;
        for (int64_t r = 0; r < kTileRows; ++r) to[r] += share * from[r];
      }
      const float pivot = factor.pivots[static_cast<size_t>(first + k)];
      for (int64_t r = 0; r < kTileRows; ++r) cost[r] += pivot * to[r] * to[r];
    }
    bool worse = true;
    for (int64_t r = 0; r < tile.rows; ++r) worse = worse && cost[r] >= most[r];
    if (worse) return false;
  }
  return true;
}

/// Coordinate descent from the current scales, codes and error; sets each row's cost.
void FeedbackEncoder::State::descend(const Tile& tile, const EncodedTile& encoded,
                                     const GroupFactors& groups, float* error, float* cost) const {
  const int64_t n = cols();
  const Aligned<float> gradient(n * kTileRows);
  const Aligned<float> block_gradient(kBlock * kTileRows);
  const Aligned<float> change(kBlock * kTileRows);
  for (int64_t i = 0; i < n * kTileRows; ++i) gradient[i] = damping * error[i];
  DenseProduct product = {.m = n,
                          .n = kTileRows,
                          .k = n,
                          .a = moment->values().data(),
                          .a_stride = n,
                          .b = error,
                          .b_stride = kTileRows,
                          .beta = 1,
                          .c = gradient.data(),
                          .c_stride = kTileRows};
  multiply(product);
  for (int sweep = 0; sweep < options.sweeps; ++sweep) {
    for_blocks(n, [&](int64_t first, int64_t width) {
      DescentBlock block;
      static_cast<TileBlock&>(block) = block_of(tile, encoded, first, width);
      std::copy_n(gradient.data() + first * kTileRows, width * kTileRows, block_gradient.data());
      block.error = error + first * kTileRows;
      block.gradient = block_gradient.data();
      block.change = change.data();
      block.moment = moments.data() + first * kBlock;
      block.tries = options.tries;
      block.effort = effort();
      block.row_sums = groups.row_sums.data() + first;
      if (!groups.pivots.empty()) {
        block.importance = groups.importance.data() + first;
        block.feedback = groups.feedback.data() + first * kBlock;
        block.pivots = groups.pivots.data() + first;
      }
      descend_block(block);
      product.k = width;
      product.a = moment->values().data() + first;
      product.b = change.data();
      multiply(product);
      float* here = gradient.data() + first * kTileRows;
      for (int64_t i = 0; i < width * kTileRows; ++i) here[i] += damping * change[i];
    });
  }
  std::fill_n(cost, kTileRows, 0.0F);
  for (int64_t k = 0; k < n; ++k) {
    for (int64_t r = 0; r < kTileRows; ++r) {
      cost[r] += error[k * kTileRows + r] * gradient[k * kTileRows + r];
    }
  }
}

FeedbackEncoder::FeedbackEncoder(const SecondMoment& moment, const FeedbackOptions& options,
                                 ThreadPool& pool)
    : state_(std::make_unique<State>()) {
  RAM_CHECK(options.damping >= 0 && options.tries >= 0 && options.sweeps >= 0);
  State& state = *state_;
  state.moment = &moment;
  state.options = options;
  const int64_t n = moment.cols();
  std::vector<float> diagonal = moment.diagonal();
  double mean = 0;
  for (const float d : diagonal) mean += d;
  mean /= static_cast<double>(n);
  if (!std::isfinite(mean) || mean < 0) {
    fail(Code::kInternal, "invalid second moment of {} columns: the mean of its diagonal is {}", n,
         mean);
  }
  if (mean == 0) return;
  // With fewer tokens than columns and almost no damping the moment may be singular: increase the
  // damping until it can be factored.
  double damping = options.damping * mean;
  while (true) {
    state.factor = factor(moment.values(), n, damping, pool);
    if (!state.factor.pivots.empty()) break;
    if (!(damping < mean)) fail(Code::kInternal, "invalid second moment of {} columns", n);
    damping = std::max(damping * 10, 1e-6 * mean);
  }
  state.damping = static_cast<float>(damping);
  state.feedback = diagonal_blocks(state.factor.upper, n, 0);
  state.moments = diagonal_blocks(moment.values(), n, damping);
  state.plain = normalized(diagonal, n);
  // Within a group the cost of an error is between the pivot (all later columns compensate) and the
  // diagonal (none does): their geometric mean works best.
  for (size_t i = 0; i < diagonal.size(); ++i) {
    diagonal[i] = std::sqrt(static_cast<float>(diagonal[i] + damping) * state.factor.pivots[i]);
  }
  state.importance = normalized(diagonal, n);
}

FeedbackEncoder::~FeedbackEncoder() = default;
FeedbackEncoder::FeedbackEncoder(FeedbackEncoder&&) noexcept = default;
FeedbackEncoder& FeedbackEncoder::operator=(FeedbackEncoder&&) noexcept = default;

EncodedMatrix FeedbackEncoder::encode(const EncodeRequest& request, ThreadPool& pool) const {
  check(request);
  const State& state = *state_;
  RAM_CHECK(request.cols == state.cols());
  if (state.factor.pivots.empty()) {
    if (state.options.grid == GroupGrid::kMlx) return mlx_encode(request, pool);
    return search_encode(request, {}, pool);
  }
  EncodedMatrix encoded = sized(request);
  GroupFactors groups;
  if (state.options.sweeps > 0) {
    groups = factor_groups(state.moments, request.cols, request.format.group_size);
  }
  pool.run(tile_count(request.rows), [&](int64_t index, int) {
    const Tile tile(request, index);
    EncodedTile result(request);
    const EncodedTile plain(request);
    const Aligned<float> error(request.cols * kTileRows);
    if (tile.rows < kTileRows) std::fill_n(error.data(), request.cols * kTileRows, 0.0F);
    float cost[kTileRows];
    float plain_cost[kTileRows];
    state.quantize(tile, result, error.data(), cost);
    if (state.options.sweeps > 0) state.descend(tile, result, groups, error.data(), cost);
    // Feedback is greedy: a row can turn out worse than with plain rounding.
    if (state.round(tile, plain, error.data(), cost, plain_cost)) {
      result.take_better(plain, tile, cost, plain_cost);
    }
    result.store(tile, encoded);
  });
  return encoded;
}

std::vector<float> FeedbackEncoder::aim(std::span<const float> weights, int64_t rows,
                                        const Drift& drift, double share, ThreadPool& pool) const {
  const State& state = *state_;
  const int64_t cols = state.cols();
  RAM_CHECK(drift.cols() == cols && static_cast<int64_t>(weights.size()) == rows * cols);
  RAM_CHECK(share >= 0 && share <= 1);
  std::vector<float> result(weights.begin(), weights.end());
  if (state.factor.pivots.empty() || share == 0) return result;
  pool.run(tile_count(rows), [&](int64_t index, int) {
    const int64_t first = index * kTileRows;
    const int64_t here = std::min(kTileRows, rows - first);
    const Aligned<float> change(cols * kTileRows);
    std::fill_n(change.data(), cols * kTileRows, 0.0F);
    multiply({.transpose_a = true,
              .transpose_b = true,
              .m = cols,
              .n = here,
              .k = cols,
              .a = drift.values().data(),
              .a_stride = cols,
              .b = weights.data() + first * cols,
              .b_stride = cols,
              .c = change.data(),
              .c_stride = kTileRows});
    solve_factored(state.factor, state.feedback, cols, change.data());
    for (int64_t r = 0; r < here; ++r) {
      float* row = result.data() + (first + r) * cols;
      bool finite = true;
      for (int64_t k = 0; k < cols; ++k) {
        row[k] += static_cast<float>(share) * change[k * kTileRows + r];
        finite = finite && std::isfinite(row[k]);
      }
      if (!finite) std::copy_n(weights.data() + (first + r) * cols, cols, row);
    }
  });
  return result;
}

}  // namespace ram
