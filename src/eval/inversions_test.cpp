// Verdicts and inversions of constructed comparisons: garbage rows, spread differences, rounding
// noise.
#include "inversions.h"

#include <algorithm>
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "pairs.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;
using ::testing::UnorderedElementsAre;

constexpr int64_t kReferenceTokens = 255;
constexpr size_t kReferenceRows = 100;

const Tokenizer& tokenizer() {
  static const Tokenizer kDemo = Tokenizer::open(RAM_SOURCE_DIR "/models/demo");
  return kDemo;
}

std::vector<double> perplexities(double about, unsigned seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal(0, 0.1);
  std::vector<double> values(kReferenceRows);
  for (double& value : values) value = about * std::exp(normal(generator));
  return values;
}

std::vector<double> times(std::vector<double> values, double factor, double jitter = 0.001) {
  std::mt19937 generator(99);
  std::normal_distribution<double> normal(0, jitter);
  for (double& value : values) value *= factor * std::exp(normal(generator));
  return values;
}

Perplexity perplexity_with(const std::vector<double>& values) {
  Perplexity perplexity;
  for (size_t i = 0; i < values.size(); ++i) {
    perplexity.rows.push_back(
        {.row = static_cast<int64_t>(3 * i),
         .tokens = kReferenceTokens,
         .nll_sum = static_cast<double>(kReferenceTokens) * std::log(values[i])});
  }
  std::vector<double> sums;
  std::vector<int64_t> tokens;
  perplexity.summary = summarize_perplexity(perplexity.losses(sums, tokens));
  return perplexity;
}

Comparison compared(const std::vector<std::vector<double>>& models, double kl = 0.1,
                    double floor = 1e-4) {
  Comparison comparison;
  comparison.reference = perplexity_with(models.front());
  for (const auto& values : std::span(models).subspan(1)) {
    ComparedModel model;
    model.perplexity = perplexity_with(values);
    model.divergence.mean = kl;
    for (size_t row = 0; row < values.size(); ++row) {
      const double spread = row % 2 == 0 ? 1.2 : 0.8;
      model.divergence.row_sums.push_back(kl * spread * static_cast<double>(kReferenceTokens));
    }
    comparison.models.push_back(std::move(model));
  }
  comparison.noise_floor.mean = floor;
  comparison.noise_floor.row_sums.assign(models.front().size(),
                                         floor * static_cast<double>(kReferenceTokens));
  comparison.text.rows.assign(models.front().size(), TokenRow{1, 2, 3});
  test_pairs(comparison, 42, 1);
  comparison.inversions = find_inversions(comparison, tokenizer());
  return comparison;
}

TEST(Verdicts, ADifferenceBeyondChanceIsNamedAndOneWithinItIsATie) {
  const std::vector<double> reference = perplexities(8, 1);
  const Comparison comparison =
      compared({reference, times(reference, 1.02), times(reference, 1.0001, 0.01)});
  EXPECT_EQ(comparison.models[0].against_reference.verdict, Verdict::kWorse);
  EXPECT_NEAR(comparison.models[0].against_reference.difference.delta, std::log(1.02), 1e-3);
  EXPECT_EQ(comparison.models[1].against_reference.verdict, Verdict::kTied);
  ASSERT_THAT(comparison.pairs, SizeIs(3));
  EXPECT_EQ(comparison.pairs[2].a, 2);
  EXPECT_EQ(comparison.pairs[2].b, 1);
  EXPECT_EQ(comparison.pairs[2].verdict, Verdict::kBetter);
  for (const PairTest& test : comparison.pairs) EXPECT_GE(test.p_holm, test.difference.p);
}

TEST(Verdicts, DivergencesOfAPairHaveTheirRatioAndItsInterval) {
  const std::vector<double> reference = perplexities(8, 1);
  Comparison comparison = compared({reference, times(reference, 1.1), times(reference, 1.2)});
  // Half of the first model's in every row but one.
  for (size_t row = 0; row < reference.size(); ++row) {
    comparison.models[1].divergence.row_sums[row] *= row == 0 ? 0.6 : 0.5;
  }
  comparison.pairs.clear();
  test_pairs(comparison, 42, 1);
  const PairTest& against_reference = comparison.pairs[1];
  EXPECT_FALSE(against_reference.kl_ratio);
  EXPECT_NEAR(against_reference.kl.delta, 0.05, 0.01);
  const PairTest& pair = comparison.pairs[2];
  ASSERT_TRUE(pair.kl_ratio);
  EXPECT_GT(*pair.kl_ratio, 0.5);
  EXPECT_LT(*pair.kl_ratio, 0.6);
  EXPECT_TRUE(pair.kl_ratio95.holds(*pair.kl_ratio));
  EXPECT_DOUBLE_EQ(pair.kl_ratio95.low, 0.5);  // resamples without that row
  EXPECT_LT(pair.kl_ratio95.high, 0.6);
  EXPECT_LT(pair.kl.t95.high, 0);
}

TEST(Verdicts, WhatLiesWithinTheNoiseIsATieHoweverSurelyItDiffers) {
  const std::vector<double> reference = perplexities(8, 1);
  const std::vector<double> model = times(reference, 1.001, 1e-6);
  EXPECT_EQ(compared({reference, model}, 1.4e-4).models[0].against_reference.verdict,
            Verdict::kWithinNoise);
  EXPECT_EQ(compared({reference, model}, 1.6e-4).models[0].against_reference.verdict,
            Verdict::kWorse);
}

TEST(Verdicts, OneRowGivesNone) {
  EXPECT_EQ(compared({{5}, {6}}).models[0].against_reference.verdict, Verdict::kTooFewRows);
}

TEST(Inversions, AFewRowsOfGarbageAreNamedAndTheMedianIsBelieved) {
  std::vector<double> reference = perplexities(8, 1);
  std::vector<double> model = times(reference, 1.01);
  for (const size_t row : {size_t{5}, size_t{50}}) {
    reference[row] = 25'000;
    model[row] = 2'500;
  }
  const Comparison comparison = compared({reference, model});
  ASSERT_THAT(comparison.inversions, SizeIs(1));
  const InversionReport& report = comparison.inversions.front();
  EXPECT_EQ(report.better_by_mean, 1);
  EXPECT_EQ(report.better_by_median, 0);
  EXPECT_TRUE(report.beats_reference);
  EXPECT_THAT(report.rows, UnorderedElementsAre(15, 150));
  EXPECT_GT(report.mean_better_without, report.mean_other_without);
  EXPECT_EQ(report.belief, Belief::kMedian);
  EXPECT_EQ(report.better(), 0);
  EXPECT_THAT(report.why, HasSubstr("2 of 100 rows"));
  ASSERT_THAT(report.excerpts, SizeIs(2));
  EXPECT_NEAR(report.excerpts.front().perplexity, 25'000, 1e-6);
}

TEST(Inversions, ManyRowsOfGarbageAreStillGarbage) {
  std::vector<double> reference = perplexities(8, 1);
  std::vector<double> model = times(reference, 1.01);
  for (size_t row = 10; row < 30; ++row) {
    reference[row] = 25'000;
    model[row] = 23'000;
  }
  const Comparison comparison = compared({reference, model});
  ASSERT_THAT(comparison.inversions, SizeIs(1));
  EXPECT_THAT(comparison.inversions.front().rows, SizeIs(::testing::Gt(5U)));
  EXPECT_EQ(comparison.inversions.front().belief, Belief::kMedian);
  EXPECT_THAT(comparison.inversions.front().why, HasSubstr("outliers"));
}

TEST(Inversions, MediansOfDifferentRowsDoNotOutweighTheRowsThemselves) {
  // b is better in every row except the middle ones, which are swapped.
  std::vector<double> a(kReferenceRows, 10.0);
  std::vector<double> b(kReferenceRows, 10.0);
  for (size_t row = 0; row < kReferenceRows; ++row) {
    const double level = row < 50 ? 5 : 20;
    a[row] = level + static_cast<double>(row) / 100;
    b[row] = a[row] * 0.99;
  }
  a[49] = 10;
  b[49] = 10.2;
  a[50] = 10;
  b[50] = 10.2;
  const Comparison comparison = compared({a, b});
  ASSERT_THAT(comparison.inversions, SizeIs(1));
  const InversionReport& report = comparison.inversions.front();
  EXPECT_EQ(report.better_by_mean, 1);
  EXPECT_EQ(report.better_by_median, 0);
  EXPECT_EQ(report.belief, Belief::kMean);
  EXPECT_EQ(report.better(), 1);
}

TEST(Inversions, RowByRowAModelIsBetterByItsRanksNotInMostRows) {
  // Slightly better in the middle rows, which are the majority, and much worse in the others.
  std::vector<double> reference = perplexities(8, 1);
  std::sort(reference.begin(), reference.end());
  std::vector<double> model = reference;
  for (size_t row = 0; row < kReferenceRows; ++row) {
    const double step = 1e-5 * static_cast<double>(row);
    model[row] *= row >= 20 && row < 80 ? 0.998 - step : 1.02 + step;
  }
  const Comparison comparison = compared({reference, model});
  ASSERT_THAT(comparison.inversions, SizeIs(1));
  const InversionReport& report = comparison.inversions.front();
  EXPECT_EQ(report.better_by_mean, 0);
  EXPECT_EQ(report.better_by_median, 1);
  const PairTest& test = comparison.pairs.front();
  EXPECT_LT(test.median_difference, 0);
  EXPECT_LT(test.wilcoxon_p, kLevel);
  EXPECT_EQ(test.wilcoxon_sign, 1);
  EXPECT_EQ(report.belief, Belief::kMean);
  EXPECT_THAT(report.why, HasSubstr("row by row the same model is better"));
}

TEST(Inversions, AModelThatIsBetterThroughoutIsSaidToBeSo) {
  const std::vector<double> reference = perplexities(8, 1);
  const Comparison comparison = compared({reference, times(reference, 0.97)});
  ASSERT_THAT(comparison.inversions, SizeIs(1));
  EXPECT_TRUE(comparison.inversions.front().beats_reference);
  EXPECT_EQ(comparison.inversions.front().belief, Belief::kMean);
}

TEST(Inversions, WithinTheNoiseNeitherRankingIsBelieved) {
  const std::vector<double> reference = perplexities(8, 1);
  const Comparison comparison = compared({reference, times(reference, 0.999, 1e-6)}, 1e-4);
  ASSERT_THAT(comparison.inversions, SizeIs(1));
  EXPECT_EQ(comparison.inversions.front().belief, Belief::kNeither);
  EXPECT_EQ(comparison.inversions.front().better(), std::nullopt);
}

TEST(Inversions, ThereAreNoneWhereAllRankingsAgree) {
  const std::vector<double> reference = perplexities(8, 1);
  const Comparison comparison =
      compared({reference, times(reference, 1.01), times(reference, 1.05)});
  EXPECT_THAT(comparison.inversions, IsEmpty());
}

}  // namespace
}  // namespace ram
