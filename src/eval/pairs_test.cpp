// Verdicts of constructed comparisons: ties, differences that too few rows cannot show, and what KL
// says then.
#include "pairs.h"

#include <cmath>
#include <numbers>

#include <gtest/gtest.h>

namespace ram {
namespace {

// Per row, losses per token and divergences per token of one model.
struct Made {
  std::vector<double> losses;
  std::vector<double> kl;
};

constexpr int64_t kRowTokens = 100;

Perplexity scored(const std::vector<double>& losses) {
  Perplexity found;
  for (size_t i = 0; i < losses.size(); ++i) {
    found.rows.push_back({.row = static_cast<int64_t>(i),
                          .tokens = kRowTokens,
                          .nll_sum = static_cast<double>(kRowTokens) * losses[i]});
  }
  std::vector<double> sums;
  std::vector<int64_t> tokens;
  found.summary = summarize_perplexity(found.losses(sums, tokens));
  return found;
}

Divergence divergence(const std::vector<double>& kl) {
  Divergence found;
  for (const double row : kl) {
    found.row_sums.push_back(static_cast<double>(kRowTokens) * row);
    found.mean += row / static_cast<double>(kl.size());
  }
  return found;
}

Comparison compare(const std::vector<double>& reference, const std::vector<double>& floor,
                   const std::vector<Made>& models) {
  Comparison comparison;
  comparison.reference = scored(reference);
  comparison.noise_floor = divergence(floor);
  for (const Made& model : models) {
    comparison.models.push_back({.perplexity = scored(model.losses),
                                 .divergence = divergence(model.kl),
                                 .against_reference = {}});
  }
  test_pairs(comparison, 42, 1);
  return comparison;
}

// A wave around the base, of mean zero over 40 rows.
std::vector<double> wave(double base, double height, double step) {
  std::vector<double> values;
  values.reserve(40);
  for (int i = 0; i < 40; ++i) {
    values.push_back(base + height * std::sin(2 * std::numbers::pi * step * i / 40));
  }
  return values;
}

std::vector<double> scaled(const std::vector<double>& values, double factor) {
  std::vector<double> scaled;
  scaled.reserve(values.size());
  for (const double value : values) scaled.push_back(factor * value);
  return scaled;
}

const std::vector<double> kBaseline = wave(2, 0.3, 1);
const std::vector<double> kFloor = wave(5e-4, 2e-4, 3);

std::vector<double> plus(const std::vector<double>& values, const std::vector<double>& more) {
  std::vector<double> sums;
  for (size_t i = 0; i < values.size(); ++i) sums.push_back(values[i] + more[i]);
  return sums;
}

TEST(PairVerdicts, TiedOnlyWhereTheIntervalLiesWithinTheMargin) {
  // Waves with a mean of zero: intervals of about +-0.3 and +-3 %.
  const std::vector<double> near = plus(kBaseline, wave(0, 0.013, 5));
  const std::vector<double> far = plus(kBaseline, wave(0, 0.13, 5));
  const std::vector<double> kl = scaled(kFloor, 100);
  Comparison comparison = compare(kBaseline, kFloor, {{near, kl}, {far, kl}});
  const PairTest& close = comparison.models[0].against_reference;
  EXPECT_EQ(close.verdict, Verdict::kTied);
  EXPECT_TRUE(close.kl_tells()) << "perplexity is the same, the model is not";
  EXPECT_FALSE(close.rows_needed);
  const PairTest& open = comparison.models[1].against_reference;
  EXPECT_EQ(open.verdict, Verdict::kTooFewRows);
  EXPECT_TRUE(open.kl_tells());
  ASSERT_TRUE(open.rows_needed.has_value());
  EXPECT_GT(*open.rows_needed, 1000) << "a tenth of the width: more than a hundred times the rows";
  EXPECT_LT(*open.rows_needed, 10'000);

  judge(comparison, 0.05);
  EXPECT_EQ(comparison.margin, 0.05);
  EXPECT_EQ(comparison.models[1].against_reference.verdict, Verdict::kTied);
  judge(comparison, 0.001);
  EXPECT_EQ(comparison.models[0].against_reference.verdict, Verdict::kTooFewRows);
}

TEST(PairVerdicts, TwoRowsTellLittleOfPerplexityAndKlSpeaks) {
  const std::vector<double> reference = {2, 2.2};
  const std::vector<double> floor = {4e-4, 6e-4};
  const Comparison comparison =
      compare(reference, floor, {{{2.02, 2.24}, {0.27, 0.29}}, {{2.02, 2.24}, {5e-4, 8e-4}}});
  const PairTest& damaged = comparison.models[0].against_reference;
  EXPECT_EQ(damaged.verdict, Verdict::kTooFewRows);
  EXPECT_TRUE(damaged.kl_tells());
  ASSERT_TRUE(damaged.rows_needed.has_value());
  EXPECT_GT(*damaged.rows_needed, 2);
  // At 1.3 times the floor it is rounding, whatever two rows show.
  EXPECT_EQ(comparison.models[1].against_reference.verdict, Verdict::kWithinNoise);
  EXPECT_FALSE(comparison.models[1].against_reference.kl_tells());
}

// A floor of 40 rows, one of them dominant: most rows are above theirs, the mean is not above the
// floor's.
TEST(PairVerdicts, KlTellsNothingWithinRounding) {
  std::vector<double> floor(40, 1e-5);
  std::vector<double> above(40, 5e-5);
  floor[7] = 1e-2;
  above[7] = 5e-3;
  EXPECT_LT(p_above_floor(above, floor, kNoiseFactor), 1e-6);
  const Comparison comparison =
      compare(kBaseline, floor, {{kBaseline, above}, {kBaseline, scaled(above, 1.01)}});
  for (const PairTest& test : comparison.pairs) {
    EXPECT_EQ(test.verdict, Verdict::kWithinNoise);
    EXPECT_FALSE(test.kl_tells());
  }
}

TEST(PairVerdicts, OneRowHasNoErrorAndOnlyAFarDivergenceSpeaks) {
  const Comparison comparison = compare({2}, {4e-4}, {{{2.5}, {0.3}}});
  const PairTest& test = comparison.models[0].against_reference;
  EXPECT_EQ(test.verdict, Verdict::kTooFewRows);
  EXPECT_TRUE(test.kl_tells()) << "750 times the floor is not rounding";
  EXPECT_FALSE(test.rows_needed);
  EXPECT_FALSE(compare({2}, {4e-4}, {{{2.5}, {2e-3}}}).models[0].against_reference.kl_tells());
}

TEST(PairVerdicts, ADifferenceBeyondChanceIsOneHoweverSmall) {
  const std::vector<double> worse = plus(kBaseline, wave(0.002, 0.001, 5));
  const Comparison comparison = compare(kBaseline, kFloor, {{worse, scaled(kFloor, 100)}});
  EXPECT_EQ(comparison.models[0].against_reference.verdict, Verdict::kWorse);
  EXPECT_TRUE(within_margin(comparison.models[0].against_reference.difference, 0.005));
}

TEST(PairVerdicts, OneRowIsSurelyBelowNothingAndAMarginMayBePassedBySome) {
  const auto difference = [](double delta, double error) {
    PairedDifference found;
    found.delta = delta;
    found.standard_error = error;
    return found;
  };
  const std::vector<PairedDifference> differences = {
      difference(0, std::nan("")), difference(0.001, 0.001), difference(0.009, 0.001),
      difference(0.02, 0), difference(0.005, 0)};
  const std::vector<int64_t> rows = {1, 40, 40, 40, 40};
  EXPECT_EQ(surely_below(differences, rows, 0.01), (std::vector<size_t>{1, 4}));
}

TEST(PairVerdicts, OfTwoModelsKlSaysWhichIsNearer) {
  const std::vector<double> noisy = plus(kBaseline, wave(0, 0.13, 5));
  const std::vector<double> noisier = plus(kBaseline, wave(0, 0.2, 7));
  const Comparison comparison =
      compare(kBaseline, kFloor, {{noisy, scaled(kFloor, 100)}, {noisier, scaled(kFloor, 200)}});
  for (const PairTest& test : comparison.pairs) {
    if (test.b == 0) continue;
    EXPECT_EQ(test.a, 2);
    EXPECT_EQ(test.verdict, Verdict::kTooFewRows);
    EXPECT_TRUE(test.kl_tells());
    EXPECT_GT(test.kl.delta, 0) << "the first is nearer";
    EXPECT_GE(test.kl_p_holm, test.kl_p);
  }
}

TEST(PairVerdicts, WhatIsTheReferenceItselfIsTiedAndNeedsNoRows) {
  const std::vector<double> zero(40, 0);
  const Comparison comparison = compare(kBaseline, kFloor, {{kBaseline, zero}});
  const PairTest& test = comparison.models[0].against_reference;
  EXPECT_EQ(test.verdict, Verdict::kWithinNoise);
  EXPECT_FALSE(test.kl_tells());
  EXPECT_FALSE(test.kl_ratio);
}

}  // namespace
}  // namespace ram
