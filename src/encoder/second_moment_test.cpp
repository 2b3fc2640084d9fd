#include "ram/thread.h"

#include "factor.h"
#include "test_support.h"

namespace ram {
namespace {

TEST(SecondMoment, IsTheSumOfProductsOverTokens) {
  constexpr int64_t kMomentCols = 300;
  constexpr int64_t kMomentTokens = 1100;
  const std::vector<float> inputs = normal(kMomentTokens * kMomentCols, 1);
  ThreadPool pool(2);
  SecondMoment moment(kMomentCols);
  moment.add(inputs.data(), 700, pool);
  moment.add(inputs.data() + 700 * kMomentCols, kMomentTokens - 700, pool);
  EXPECT_EQ(moment.tokens(), kMomentTokens);
  for (const int64_t i : {0, 17, 255, 256, 299}) {
    for (const int64_t j : {0, 16, 17, 255, 256, 299}) {
      double expected = 0;
      for (int64_t t = 0; t < kMomentTokens; ++t) {
        expected += double{inputs[static_cast<size_t>(t * kMomentCols + i)]} *
                    inputs[static_cast<size_t>(t * kMomentCols + j)];
      }
      const float found = moment.values()[static_cast<size_t>(i * kMomentCols + j)];
      EXPECT_NEAR(found, expected, 2e-3) << i << " " << j;
      EXPECT_EQ(found, moment.values()[static_cast<size_t>(j * kMomentCols + i)]);
    }
  }
  EXPECT_EQ(moment.diagonal()[17], moment.values()[17 * kMomentCols + 17]);
}

TEST(SecondMoment, IsTheSameForAnyNumberOfThreads) {
  constexpr int64_t kMomentCols = 600;
  const std::vector<float> inputs = normal(900 * kMomentCols, 2);
  std::vector<float> expected;
  for (const int threads : {1, 2, 3}) {
    ThreadPool pool(threads);
    SecondMoment moment(kMomentCols);
    moment.add(inputs.data(), 900, pool);
    const std::vector<float> found(moment.values().begin(), moment.values().end());
    if (expected.empty()) expected = found;
    EXPECT_EQ(found, expected) << threads << " threads";
  }
}

TEST(SecondMoment, IsDrawnTowardsAnotherByThatOnesMean) {
  ThreadPool pool(1);
  const std::vector<float> one = {1, 2};
  const std::vector<float> four = {1, 0, 0, 2, 3, 0, 0, 0};
  SecondMoment few(2);
  few.add(one.data(), 1, pool);
  SecondMoment layer(2);
  layer.add(four.data(), 4, pool);
  few.shrink_towards(layer, 2);  // 2 tokens' worth of [[10, 0], [0, 4]] / 4
  EXPECT_THAT(std::vector<float>(few.values().begin(), few.values().end()),
              ::testing::ElementsAre(6, 2, 2, 6));
  EXPECT_EQ(few.tokens(), 1);
  few.shrink_towards(SecondMoment(2), 5);
  EXPECT_EQ(few.values()[0], 6);
  few.add(layer);
  EXPECT_EQ(few.values()[0], 16);
  EXPECT_EQ(few.tokens(), 5);
}

TEST(Factor, GivesTheMomentBack) {
  ThreadPool pool(2);
  for (const int64_t n : {1, 31, 128, 129, 700}) {
    const SecondMoment moment = correlated_moment(n, 2 * n, 3, pool);
    const double damping = 0.01 * moment.diagonal()[0] + 0.01;
    const Factor found = factor(moment.values(), n, damping, pool);
    ASSERT_EQ(static_cast<int64_t>(found.pivots.size()), n);
    const auto upper = [&](int64_t i, int64_t k) {
      return i == k ? 1.0 : double{found.upper[static_cast<size_t>(i * n + k)]};
    };
    const float greatest = *std::max_element(moment.values().begin(), moment.values().end());
    for (int64_t i = 0; i < n; i += 13) {
      for (int64_t j = i; j < n; j += 7) {
        double sum = 0;
        for (int64_t k = j; k < n; ++k) {
          sum += upper(i, k) * found.pivots[static_cast<size_t>(k)] * upper(j, k);
        }
        const double expected =
            moment.values()[static_cast<size_t>(i * n + j)] + (i == j ? damping : 0);
        EXPECT_NEAR(sum, expected, 2e-5 * (greatest + damping))
            << n << " columns, " << i << " " << j;
      }
    }
  }
}

TEST(Factor, SaysWhereThereIsNone) {
  ThreadPool pool(1);
  const std::vector<float> indefinite = {1, 2, 2, 1};
  EXPECT_TRUE(factor(indefinite, 2, 0, pool).pivots.empty());
  EXPECT_FALSE(factor(indefinite, 2, 3, pool).pivots.empty());
}

}  // namespace
}  // namespace ram
