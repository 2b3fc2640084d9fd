// Weights aimed at the original's outputs.
#include "ram/thread.h"

#include "test_support.h"

namespace ram {
namespace {

constexpr int64_t kOddCols = 200;  // not a whole number of blocks
constexpr int64_t kOddRows = 131;  // not a whole number of tiles
constexpr int64_t kTokens = 900;

struct Inputs {
  std::vector<float> original = normal(kTokens * kOddCols, 1);
  std::vector<float> compressed;
  std::vector<float> weights = normal(kOddRows * kOddCols, 2);

  Inputs() {
    for (int64_t i = 1; i < kTokens * kOddCols; ++i) {
      original[static_cast<size_t>(i)] += 0.8F * original[static_cast<size_t>(i - 1)];
    }
    // Part of the drift is a mixture of columns, which weights can compensate, and part is not.
    compressed = normal(kTokens * kOddCols, 3);
    for (size_t i = 0; i < compressed.size(); ++i) {
      compressed[i] =
          original[i] * 0.9F + original[i - i % kOddCols] * 0.2F + compressed[i] * 0.05F;
    }
  }

  /// Sum over tokens and the first `rows` rows of the squared difference of the outputs.
  double missed(const std::vector<float>& other, int64_t rows) const {
    double sum = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t r = 0; r < rows; ++r) {
        double difference = 0;
        for (int64_t k = 0; k < kOddCols; ++k) {
          const auto input = static_cast<size_t>(t * kOddCols + k);
          const auto weight = static_cast<size_t>(r * kOddCols + k);
          difference +=
              double{weights[weight]} * original[input] - double{other[weight]} * compressed[input];
        }
        sum += difference * difference;
      }
    }
    return sum;
  }
};

TEST(Aim, FindsTheLeastSquaresOfTheOutputs) {
  const Inputs inputs;
  ThreadPool pool(2);
  SecondMoment moment(kOddCols);
  moment.add(inputs.compressed.data(), kTokens, pool);
  Drift drift(kOddCols);
  drift.add(inputs.original.data(), inputs.compressed.data(), kTokens, pool);
  const FeedbackEncoder encoder(moment, {.damping = 1e-5}, pool);
  const std::vector<float> aimed = encoder.aim(inputs.weights, kOddRows, drift, 1, pool);
  const double least = inputs.missed(aimed, 2);
  EXPECT_LT(least, 0.2 * inputs.missed(inputs.weights, 2));
  // A minimum: it grows whichever way the weights are changed.
  for (const int64_t column : {0, 1, 77, 127, 128, 199}) {
    for (const float by : {-0.01F, 0.01F}) {
      std::vector<float> moved = aimed;
      moved[static_cast<size_t>(column)] += by;
      EXPECT_GT(inputs.missed(moved, 2), least) << column << " " << by;
    }
  }
}

TEST(Aim, GoesAsFarAsAskedAndIsTheSameForAnyNumberOfThreads) {
  const Inputs inputs;
  std::vector<std::vector<float>> whole;
  for (const int threads : {1, 3}) {
    ThreadPool pool(threads);
    SecondMoment moment(kOddCols);
    moment.add(inputs.compressed.data(), kTokens, pool);
    Drift drift(kOddCols);
    drift.add(inputs.original.data(), inputs.compressed.data(), kTokens, pool);
    const FeedbackEncoder encoder(moment, {}, pool);
    EXPECT_EQ(encoder.aim(inputs.weights, kOddRows, drift, 0, pool), inputs.weights);
    EXPECT_EQ(encoder.aim(inputs.weights, kOddRows, Drift(kOddCols), 1, pool), inputs.weights);
    whole.push_back(encoder.aim(inputs.weights, kOddRows, drift, 1, pool));
    const std::vector<float> half = encoder.aim(inputs.weights, kOddRows, drift, 0.5, pool);
    for (size_t i = 0; i < half.size(); i += 97) {
      EXPECT_NEAR(half[i], (whole.back()[i] + inputs.weights[i]) / 2, 1e-5);
    }
  }
  EXPECT_EQ(whole[0], whole[1]);
}

TEST(Aim, LeavesWeightsAloneWhereThereIsNothingToGoBy) {
  const Inputs inputs;
  ThreadPool pool(1);
  const SecondMoment nothing(kOddCols);
  Drift drift(kOddCols);
  drift.add(inputs.original.data(), inputs.compressed.data(), kTokens, pool);
  EXPECT_EQ(FeedbackEncoder(nothing, {}, pool).aim(inputs.weights, kOddRows, drift, 1, pool),
            inputs.weights);
}

}  // namespace
}  // namespace ram
