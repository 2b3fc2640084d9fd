// Verdicts in words, and their documents.
#include "ram/eval_verdict.h"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/eval_json.h"

namespace ram {
namespace {

const std::vector<std::string> kLabels = {"base", "small", "smaller"};

/// A pair whose perplexity changes by `percent`, with a 95 % interval of +- `reach`.
PairTest pair_of(int a, int b, double percent, double reach, Verdict verdict) {
  PairTest test;
  test.a = a;
  test.b = b;
  test.difference.delta = std::log1p(percent / 100);
  test.difference.standard_error = 0.001;
  test.difference.t95 = {std::log1p((percent - reach) / 100), std::log1p((percent + reach) / 100)};
  test.verdict = verdict;
  return test;
}

std::string words(const PairTest& test) {
  return pair_verdict(Comparison(), test, kLabels);
}

TEST(PairVerdict, HasAsManyDigitsAsItsErrorHas) {
  EXPECT_EQ(words(pair_of(1, 0, 2.346, 0.0512, Verdict::kWorse)), "worse by 2.35 % ± 0.05");
  EXPECT_EQ(words(pair_of(1, 0, 2.346, 0.512, Verdict::kWorse)), "worse by 2.3 % ± 0.5");
  EXPECT_EQ(words(pair_of(1, 0, -23.46, 12, Verdict::kBetter)), "better by 23 % ± 12");
}

TEST(PairVerdict, DivergencesSpeakWherePerplexityDoesNotTell) {
  PairTest test = pair_of(1, 2, 0, 0.1, Verdict::kTied);
  EXPECT_EQ(words(test), "tied within 0.5 %");
  test.kl_far = true;
  test.kl.delta = 0.1;
  EXPECT_EQ(words(test), "tied within 0.5 %; KL says smaller is nearer");
  test.b = 0;
  EXPECT_EQ(words(test), "tied within 0.5 %; KL says it differs");
  test.verdict = Verdict::kWithinNoise;
  EXPECT_EQ(words(test), "tied, within rounding");
}

TEST(PairVerdict, TooFewRowsSayHowManyWouldDo) {
  PairTest test = pair_of(1, 0, 1, 0.5, Verdict::kTooFewRows);
  test.rows_needed = 1200;
  EXPECT_EQ(words(test), "too few rows to tell (±0.5 %; about 1,200 would do)");
  test.difference.standard_error = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(words(test), "one row: no error known");
}

TEST(EvalJson, AComparisonSaysNullWhereThereIsNoNumber) {
  Comparison comparison;
  ComparedModel& model = comparison.models.emplace_back();
  model.against_reference = pair_of(1, 0, 1, 0.5, Verdict::kTooFewRows);
  model.against_reference.difference.t95 = {-std::numeric_limits<double>::infinity(), 1};
  comparison.pairs = {model.against_reference};
  const auto document = comparison_json({}, comparison, {"base", "small"});
  const auto& entry = document.at("models").at(0);
  EXPECT_EQ(entry.at("name"), "small");
  EXPECT_EQ(entry.at("verdict"), "too few rows");
  EXPECT_EQ(entry.at("delta_nll_ci95").dump(), "[null,1.0]");
  EXPECT_TRUE(entry.at("rows_needed").is_null());
  EXPECT_TRUE(document.at("pairs").at(0).at("kl_ratio").is_null());
  EXPECT_EQ(document.at("comparisons"), 1);
}

}  // namespace
}  // namespace ram
