// What the encoders guarantee for every matrix and moment, especially difficult ones.
#include <limits>

#include "ram/error.h"
#include "ram/thread.h"

#include "reference.h"
#include "support/sanitizers.h"
#include "test_support.h"

namespace ram {
namespace {

constexpr int64_t kPromiseRows = 4;
constexpr int64_t kPromiseCols = 256;

std::vector<float> decode(const EncodeRequest& request, const EncodedMatrix& encoded) {
  std::vector<float> out(request.weights.size());
  affine_decode(encoded.codes.data(), encoded.scales.data(), encoded.biases.data(), request.dtype,
                request.rows, request.cols, request.format, out.data());
  return out;
}

void expect_finite(const EncodeRequest& request, const EncodedMatrix& encoded,
                   const std::string& what) {
  for (const float value : decode(request, encoded)) ASSERT_TRUE(std::isfinite(value)) << what;
}

std::string name(Rows rows, const EncodeRequest& request) {
  return "rows of kind " + std::to_string(static_cast<int>(rows)) + ", " +
         std::string(dtype_name(request.dtype)) + " " + format_name(request.format);
}

/// Calls check(kind, request) for every kind of row, dtype and format.
template <typename Check>
void on_all(const Check& check) {
  for (const Rows rows : kAllRows) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      const std::vector<float> weights = weights_of(rows, kPromiseRows * kPromiseCols, dtype, 7);
      for (const AffineFormat format : kAffineFormats) {
        check(rows, EncodeRequest{weights, kPromiseRows, kPromiseCols, format, dtype});
      }
    }
  }
}

TEST(Promises, ASearchNeverLosesMoreThanMlx) {
  ThreadPool pool(1);
  std::vector<float> importance = correlated_moment(kPromiseCols, 300, 5, pool).diagonal();
  on_all([&](Rows rows, const EncodeRequest& request) {
    const EncodedMatrix searched = search_encode(request, importance, pool);
    expect_finite(request, searched, name(rows, request));
    const double mlx = squared_error(request, mlx_encode(request, pool), importance);
    if (!std::isfinite(mlx)) return;  // MLX's scale overflows
    // Columns of no importance count 1e-4 of the mean in the search.
    EXPECT_LE(squared_error(request, searched, importance), mlx * 1.0005) << name(rows, request);
  });
}

TEST(Promises, FeedbackNeverLosesMoreThanPlainRoundingInItsOwnObjective) {
  ThreadPool pool(1);
  const SecondMoment moment = correlated_moment(kPromiseCols, 300, 5, pool);
  int turn = 0;
  for (const GroupGrid grid : {GroupGrid::kMlx, GroupGrid::kSearch}) {
    for (const int sweeps : {0, 2}) {
      const FeedbackOptions options = {.grid = grid, .tries = sweeps, .sweeps = sweeps};
      const FeedbackEncoder encoder(moment, options, pool);
      on_all([&](Rows rows, const EncodeRequest& request) {
        // To save time, each kind is combined with each format in some dtype; when sanitized, in
        // fewer.
        if (++turn % (RAM_SANITIZED ? 25 : 5) != 0) return;
        const EncodedMatrix feedback = encoder.encode(request, pool);
        expect_finite(request, feedback, name(rows, request));
        const EncodedMatrix plain = grid == GroupGrid::kMlx
                                        ? mlx_encode(request, pool)
                                        : search_encode(request, moment.diagonal(), pool);
        const double most = weighted_error_ref(request, plain, moment, options.damping);
        if (!std::isfinite(most)) return;
        EXPECT_LE(weighted_error_ref(request, feedback, moment, options.damping), most * 1.001)
            << name(rows, request) << " grid " << static_cast<int>(grid) << " sweeps " << sweeps;
      });
    }
  }
}

TEST(Promises, WhatIsExactStaysExact) {
  ThreadPool pool(1);
  const SecondMoment moment = correlated_moment(kPromiseCols, 300, 5, pool);
  const FeedbackEncoder encoder(moment, {}, pool);
  for (const Rows rows : {Rows::kZero, Rows::kConstant}) {
    const std::vector<float> weights =
        weights_of(rows, kPromiseRows * kPromiseCols, DType::kBF16, 7);
    for (const AffineFormat format : kAffineFormats) {
      const EncodeRequest request = {weights, kPromiseRows, kPromiseCols, format, DType::kBF16};
      EXPECT_EQ(decode(request, search_encode(request, {}, pool)), weights);
      EXPECT_EQ(decode(request, encoder.encode(request, pool)), weights);
    }
  }
}

TEST(Promises, NothingDependsOnTheNumberOfThreads) {
  constexpr int64_t kManyRows = 300;
  constexpr int64_t kManyCols = 672;  // not a whole number of blocks
  const std::vector<float> weights =
      weights_of(Rows::kNormal, kManyRows * kManyCols, DType::kBF16, 8);
  std::vector<EncodedMatrix> expected;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    const SecondMoment moment = correlated_moment(kManyCols, 700, 6, pool);
    const EncodeRequest request = {weights, kManyRows, kManyCols, {4, 32}, DType::kBF16};
    const std::vector<EncodedMatrix> found = {
        search_encode(request, moment.diagonal(), pool),
        FeedbackEncoder(moment, {}, pool).encode(request, pool)};
    if (expected.empty()) expected = found;
    EXPECT_TRUE(found == expected) << threads << " threads";
  }
}

TEST(Promises, ARowIsEncodedTheSameWhateverItsNeighboursAre) {
  ThreadPool pool(1);
  const SecondMoment moment = correlated_moment(kPromiseCols, 300, 5, pool);
  const FeedbackEncoder encoder(moment, {}, pool);
  const std::vector<float> weights = weights_of(Rows::kNormal, 130 * kPromiseCols, DType::kBF16, 9);
  const EncodeRequest all = {weights, 130, kPromiseCols, {3, 64}, DType::kBF16};
  const std::vector<float> together = decode(all, encoder.encode(all, pool));
  const EncodeRequest last = {
      std::span(weights).subspan(129 * kPromiseCols), 1, kPromiseCols, {3, 64}, DType::kBF16};
  const std::vector<float> alone = decode(last, encoder.encode(last, pool));
  EXPECT_TRUE(std::equal(alone.begin(), alone.end(), together.begin() + 129 * kPromiseCols));
}

TEST(Promises, AMomentOfFewerTokensThanColumnsIsNoTrouble) {
  ThreadPool pool(1);
  const std::vector<float> weights =
      weights_of(Rows::kNormal, kPromiseRows * kPromiseCols, DType::kBF16, 10);
  const EncodeRequest request = {weights, kPromiseRows, kPromiseCols, {3, 64}, DType::kBF16};
  for (const int64_t tokens : {1, 5, 100}) {
    const SecondMoment moment = correlated_moment(kPromiseCols, tokens, 7, pool);
    for (const double damping : {0.0, 0.01}) {
      const FeedbackEncoder encoder(moment, {.damping = damping}, pool);
      const EncodedMatrix feedback = encoder.encode(request, pool);
      expect_finite(request, feedback, std::to_string(tokens));
      EXPECT_LT(weighted_error(request, feedback, moment, pool),
                0.5 * weighted_error(request, mlx_encode(request, pool), moment, pool))
          << tokens << " tokens";
      if (damping == 0) continue;
      // Directions that no token has must not be sacrificed.
      EXPECT_LT(squared_error(request, feedback, {}),
                4 * squared_error(request, mlx_encode(request, pool), {}))
          << tokens << " tokens";
    }
  }
}

TEST(Promises, AMomentWithoutATokenMakesItASearch) {
  ThreadPool pool(1);
  const std::vector<float> weights =
      weights_of(Rows::kHeavyTail, kPromiseRows * kPromiseCols, DType::kBF16, 11);
  const EncodeRequest request = {weights, kPromiseRows, kPromiseCols, {4, 64}, DType::kBF16};
  const SecondMoment none(kPromiseCols);
  EXPECT_TRUE(FeedbackEncoder(none, {}, pool).encode(request, pool) ==
              search_encode(request, {}, pool));
  EXPECT_TRUE(FeedbackEncoder(none, {.grid = GroupGrid::kMlx}, pool).encode(request, pool) ==
              mlx_encode(request, pool));
}

TEST(Promises, AMomentThatIsNotFiniteIsRefused) {
  ThreadPool pool(1);
  for (const float bad : {std::nanf(""), std::numeric_limits<float>::infinity(), 1e30F}) {
    std::vector<float> inputs(static_cast<size_t>(2 * kPromiseCols), 1.0F);
    inputs[5] = bad;  // the square of 1e30 overflows
    SecondMoment moment(kPromiseCols);
    moment.add(inputs.data(), 2, pool);
    try {
      const FeedbackEncoder encoder(moment, {}, pool);
      ADD_FAILURE() << "was taken: " << bad;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kInternal) << error.what();
    }
  }
}

}  // namespace
}  // namespace ram
