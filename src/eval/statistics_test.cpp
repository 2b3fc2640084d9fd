// Summaries, resampling and inversions on cases that can be computed by hand.
#include "ram/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace ram {
namespace {

using ::testing::DoubleNear;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

struct Rows {
  std::vector<double> nll_sums;
  std::vector<int64_t> tokens;
  operator Losses() const { return {nll_sums, tokens}; }
};

// Rows of equal length with the given perplexities.
Rows rows_with(const std::vector<double>& perplexities, int64_t tokens = 10) {
  Rows rows;
  for (const double perplexity : perplexities) {
    rows.nll_sums.push_back(static_cast<double>(tokens) * std::log(perplexity));
    rows.tokens.push_back(tokens);
  }
  return rows;
}

TEST(Summary, MeanWeighsTokensAndMedianWeighsRows) {
  const Rows rows{.nll_sums = {2, 30, 3}, .tokens = {2, 10, 1}};
  const PerplexitySummary summary = summarize_perplexity(rows);
  EXPECT_DOUBLE_EQ(summary.mean, std::exp(35.0 / 13));
  EXPECT_DOUBLE_EQ(summary.median, std::exp(3.0));
  EXPECT_THAT(summary.worst, ElementsAre(1, 2, 0));
  EXPECT_FALSE(summary.mean_without_worst.has_value());
}

TEST(Summary, TrimmedDropsFivePercentAtEachEndAndAtLeastOneRow) {
  EXPECT_FALSE(summarize_perplexity(rows_with({2, 3})).trimmed.has_value());
  const PerplexitySummary three = summarize_perplexity(rows_with({9, 2, 3}));
  EXPECT_EQ(three.trimmed_rows, 1);
  EXPECT_NEAR(three.trimmed.value(), 3, 1e-12);
  std::vector<double> perplexities(59, 5.0);
  perplexities.front() = 1.0001;
  perplexities.back() = 1e9;
  EXPECT_EQ(summarize_perplexity(rows_with(perplexities)).trimmed_rows, 2);
  EXPECT_NEAR(summarize_perplexity(rows_with(perplexities)).trimmed.value(), 5, 1e-12);
  perplexities.push_back(5);
  EXPECT_EQ(summarize_perplexity(rows_with(perplexities)).trimmed_rows, 3);
}

TEST(Summary, OutliersAreRowsAboveOneHundred) {
  const PerplexitySummary summary = summarize_perplexity(rows_with({5, 101, 99, 25'000, 7, 8, 9}));
  EXPECT_THAT(summary.outliers, ElementsAre(1, 3));
  EXPECT_THAT(summary.worst, ElementsAre(3, 1, 2, 6, 5));
  EXPECT_NEAR(summary.mean_without_worst.value(), std::sqrt(35.0), 1e-12);
  EXPECT_NEAR(summary.median_without_worst.value(), 6, 1e-12);
}

TEST(Summary, OneRowIsItsOwnMeanAndMedian) {
  const PerplexitySummary summary = summarize_perplexity(rows_with({4}));
  EXPECT_NEAR(summary.mean, 4, 1e-12);
  EXPECT_NEAR(summary.median, 4, 1e-12);
}

TEST(PairedDifference, RowsCountByTheirTokens) {
  const std::vector<double> differences = {1, 2, 6};
  const std::vector<int64_t> tokens = {10, 10, 20};
  const PairedDifference found = paired_difference(differences, tokens);
  EXPECT_DOUBLE_EQ(found.delta, 9.0 / 40);
  // Residuals 1 - 2.25, 2 - 2.25, 6 - 4.5; 3 / 2 of their squares, over 40 tokens.
  EXPECT_DOUBLE_EQ(found.standard_error, std::sqrt(1.5 * (1.5625 + 0.0625 + 2.25)) / 40);
}

TEST(PairedDifference, OneRowSaysNothingOfItsError) {
  const std::vector<double> differences = {3};
  const std::vector<int64_t> tokens = {10};
  const PairedDifference found = paired_difference(differences, tokens);
  EXPECT_DOUBLE_EQ(found.delta, 0.3);
  EXPECT_TRUE(std::isnan(found.standard_error));
  EXPECT_TRUE(std::isnan(found.t95.low));
  EXPECT_EQ(found.p, 1);
}

TEST(PairedDifference, AModelAgainstItselfDiffersByNothing) {
  const std::vector<double> differences(20, 0.0);
  const std::vector<int64_t> tokens(20, 5);
  const PairedDifference found = paired_difference(differences, tokens);
  EXPECT_EQ(found.delta, 0);
  EXPECT_EQ(found.standard_error, 0);
  EXPECT_EQ(found.p, 1);
  EXPECT_TRUE(bootstrap_interval(differences, tokens, {}).holds(0));
  EXPECT_EQ(wilcoxon_test(differences).p, 1);
  EXPECT_EQ(wilcoxon_test(differences).sign, 0);
  EXPECT_EQ(sign_test(differences), 1);
}

TEST(Wilcoxon, ItsSignIsOfRanksNotOfMostDifferences) {
  std::vector<double> differences;
  for (int i = 1; i <= 60; ++i) differences.push_back(-1e-3 * i);
  for (int i = 1; i <= 40; ++i) differences.push_back(1.0 * i);
  EXPECT_LT(wilcoxon_test(differences).p, kLevel);
  EXPECT_EQ(wilcoxon_test(differences).sign, 1);
  for (double& difference : differences) difference = -difference;
  EXPECT_EQ(wilcoxon_test(differences).sign, -1);
  EXPECT_EQ(wilcoxon_test(std::vector{1.0, -2.0, -3.0, 4.0}).sign, 0);
}

TEST(Percentile, InfiniteEndsNeverGiveNaN) {
  constexpr double kInf = std::numeric_limits<double>::infinity();
  const std::vector<double> upper = {1, 2, kInf, kInf};
  EXPECT_EQ(percentile(upper, 0), 1);
  EXPECT_NEAR(percentile(upper, 100.0 / 3), 2, 1e-12);
  EXPECT_EQ(percentile(upper, 50), kInf) << "between 2 and infinity";
  EXPECT_EQ(percentile(upper, 80), kInf) << "between two infinities";
  EXPECT_EQ(percentile(upper, 100), kInf);
  const std::vector<double> lower = {-kInf, -kInf, 5};
  EXPECT_EQ(percentile(lower, 20), -kInf);
  EXPECT_EQ(percentile(lower, 60), -kInf);
  EXPECT_EQ(percentile(lower, 100), 5);
  const std::vector<double> both = {-kInf, kInf};
  EXPECT_EQ(percentile(both, 10), -kInf);
  EXPECT_EQ(percentile(both, 90), kInf);
  EXPECT_EQ(percentile(std::vector{-kInf, 1.0, kInf}, 50), 1);
  // Any mixture: a value from the correct side, and never decreasing.
  for (size_t below = 0; below < 4; ++below) {
    for (size_t above = 0; above < 4; ++above) {
      std::vector<double> values(below, -kInf);
      for (const double finite : {-3.0, 0.0, 0.5, 9.0}) values.push_back(finite);
      values.insert(values.end(), above, kInf);
      double before = -kInf;
      for (int quarters = 0; quarters <= 400; ++quarters) {
        const double percent = quarters / 4.0;
        const double now = percentile(values, percent);
        ASSERT_FALSE(std::isnan(now)) << below << " " << above << " " << percent;
        ASSERT_GE(now, before);
        before = now;
      }
    }
  }
}

TEST(Bootstrap, ARatioToRowsOfZeroIsInfiniteAndNeverNaN) {
  // b diverges in one row of ten: 35 % of the resamples do not contain it.
  std::vector<double> a(10, 1.0);
  std::vector<double> b(10, 0.0);
  b[3] = 2;
  const Interval found = bootstrap_ratio_interval(a, b, {});
  EXPECT_GT(found.low, 0.5);
  EXPECT_TRUE(std::isfinite(found.low));
  EXPECT_EQ(found.high, std::numeric_limits<double>::infinity());
  // If neither diverges they are equal, not infinitely far apart.
  const std::vector<double> none(10, 0.0);
  const Interval equal = bootstrap_ratio_interval(none, none, {});
  EXPECT_EQ(equal.low, 1);
  EXPECT_EQ(equal.high, 1);
}

TEST(Bootstrap, TheRatioIsOnTheSideOfOneOnWhichTheDifferenceIsOfZeroWhateverTheRows) {
  std::mt19937_64 generator(5);
  const auto draw = [&] { return static_cast<double>(generator() % 4); };  // zeros and ties
  int told = 0;
  for (int trial = 0; trial < 300; ++trial) {
    const size_t rows = 1 + generator() % 12;
    std::vector<double> a(rows);
    std::vector<double> b(rows);
    std::vector<double> differences(rows);
    for (size_t i = 0; i < rows; ++i) {
      a[i] = draw() * (trial % 3 == 0 ? 1 : 4);
      b[i] = trial % 5 == 0 && i > 0 ? 0 : draw();
      differences[i] = a[i] - b[i];
    }
    const BootstrapOptions options = {.resamples = 997, .seed = static_cast<uint64_t>(trial)};
    const Interval ratio = bootstrap_ratio_interval(a, b, options);
    const Interval apart = bootstrap_interval(differences, std::vector<int64_t>(rows, 1), options);
    ASSERT_EQ(ratio.low > 1, apart.low > 0) << trial;
    ASSERT_EQ(ratio.high < 1, apart.high < 0) << trial;
    told += ratio.holds(1) ? 0 : 1;
  }
  EXPECT_GT(told, 20);
}

TEST(Bootstrap, TheRatioExcludesOneWhereTheDifferenceExcludesZero) {
  // b is 0.9 to 1.1 times a by row: some of these pairs are distinguished, others are not.
  int told = 0;
  for (int shift = -10; shift <= 10; ++shift) {
    std::vector<double> a(40);
    std::vector<double> b(40);
    std::vector<double> differences(40);
    for (size_t i = 0; i < a.size(); ++i) {
      a[i] = 2 + std::sin(static_cast<double>(7 * i * i));
      b[i] = a[i] * (1 + 0.005 * shift + 0.1 * std::cos(static_cast<double>(3 * i)));
      differences[i] = a[i] - b[i];
    }
    const std::vector<int64_t> tokens(40, 9);
    const Interval ratio = bootstrap_ratio_interval(a, b, {});
    EXPECT_EQ(ratio.holds(1), bootstrap_interval(differences, tokens, {}).holds(0)) << shift;
    const double whole =
        std::accumulate(a.begin(), a.end(), 0.0) / std::accumulate(b.begin(), b.end(), 0.0);
    EXPECT_TRUE(ratio.holds(whole));
    told += ratio.holds(1) ? 0 : 1;
  }
  EXPECT_GT(told, 5);
  EXPECT_LT(told, 20);
}

TEST(Bootstrap, TheIntervalDoesNotDependOnTheThreads) {
  std::vector<double> differences(151);
  std::vector<int64_t> tokens(151);
  for (size_t i = 0; i < differences.size(); ++i) {
    differences[i] = std::sin(static_cast<double>(i * i));
    tokens[i] = static_cast<int64_t>(100 + i % 7);
  }
  const Interval one = bootstrap_interval(differences, tokens, {.resamples = 1000});
  for (const int threads : {2, 3, 8}) {
    const Interval other =
        bootstrap_interval(differences, tokens, {.resamples = 1000, .threads = threads});
    EXPECT_EQ(one.low, other.low);
    EXPECT_EQ(one.high, other.high);
  }
  const Interval seeded = bootstrap_interval(differences, tokens, {.resamples = 1000, .seed = 43});
  EXPECT_NE(one.low, seeded.low);
}

TEST(Bootstrap, EveryRowIsDrawnEquallyOften) {
  // One row that differs in size from n - 1 others: the bounds of the interval show its share.
  constexpr size_t kRows = 5;
  for (size_t which = 0; which < kRows; ++which) {
    std::vector<double> differences(kRows, 0.0);
    differences[which] = kRows;
    const std::vector<int64_t> tokens(kRows, 1);
    const Interval found = bootstrap_interval(differences, tokens, {.resamples = 20'000});
    // The row is drawn 0 times in 33 % and at least 4 times in 0.7 % of the resamples.
    EXPECT_EQ(found.low, 0);
    EXPECT_EQ(found.high, 3);
  }
}

TEST(Holm, AdjustedValuesKeepTheirOrderAndStayBelowOne) {
  const std::vector<double> p_values = {0.5, 0.001, 0.9};
  EXPECT_THAT(holm(p_values), ElementsAre(1, 0.003, 1));
  EXPECT_THAT(holm({}), IsEmpty());
}

// 20 rows: b is slightly worse in all but two garbage rows, where a fails.
struct Constructed {
  Rows a = rows_with(std::vector<double>(20, 10.0));
  Rows b = rows_with(std::vector<double>(20, 10.5));
  Constructed() {
    for (const size_t row : {size_t{4}, size_t{17}}) {
      a.nll_sums[row] = 10 * std::log(50'000.0 + static_cast<double>(row));
      b.nll_sums[row] = 10 * std::log(20'000.0);
    }
  }
};

TEST(Inversion, TheFewestRowsThatTurnTheMeanAroundAreNamed) {
  const Constructed rows;
  ASSERT_GT(summarize_perplexity(rows.a).mean, summarize_perplexity(rows.b).mean);
  ASSERT_LT(summarize_perplexity(rows.a).median, summarize_perplexity(rows.b).median);
  const std::optional<Inversion> found = find_inversion(rows.a, rows.b);
  ASSERT_TRUE(found.has_value());
  EXPECT_FALSE(found->a_better_by_mean);
  EXPECT_TRUE(found->a_better_by_median);
  // 18 rows of log 1.05 are 0.88: less than either row's log 2.5, so both must go.
  EXPECT_THAT(found->rows, ElementsAre(17, 4));
  EXPECT_THAT(found->mean_a_without, DoubleNear(10, 1e-9));
  EXPECT_THAT(found->mean_b_without, DoubleNear(10.5, 1e-9));
  EXPECT_THAT(found->median_a_without, DoubleNear(10, 1e-9));
}

TEST(Inversion, ItIsTheSameWhicheverModelComesFirst) {
  const Constructed rows;
  const std::optional<Inversion> found = find_inversion(rows.b, rows.a);
  ASSERT_TRUE(found.has_value());
  EXPECT_TRUE(found->a_better_by_mean);
  EXPECT_FALSE(found->a_better_by_median);
  EXPECT_THAT(found->rows, ElementsAre(17, 4));
  EXPECT_THAT(found->mean_b_without, DoubleNear(10, 1e-9));
}

TEST(Inversion, ThereIsNoneWhereMeanAndMedianAgreeOrModelsAreEqual) {
  const Rows better = rows_with({3, 4, 5});
  const Rows worse = rows_with({4, 5, 6});
  EXPECT_FALSE(find_inversion(better, worse).has_value());
  EXPECT_FALSE(find_inversion(worse, better).has_value());
  EXPECT_FALSE(find_inversion(better, better).has_value());
}

TEST(Inversion, AModelThatBeatsItsOriginalIsExplainedByTheFewestRows) {
  const Rows original = rows_with({10, 10, 10, 10, 4000, 10});
  const Rows model = rows_with({10.1, 10.1, 10.1, 10.1, 900, 10.1});
  const std::optional<Inversion> found = explain_better_mean(model, original);
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->rows, ElementsAre(4));
  EXPECT_GT(found->mean_a_without, found->mean_b_without);
  EXPECT_FALSE(explain_better_mean(original, model).has_value());
}

TEST(Inversion, ADifferenceInEveryRowIsNotBlamedOnAFew) {
  const std::optional<Inversion> found =
      explain_better_mean(rows_with({3, 4, 5, 6}), rows_with({4, 5, 6, 7}));
  ASSERT_TRUE(found.has_value());
  EXPECT_THAT(found->rows, IsEmpty());
}

TEST(DrawRows, EachRowComesOnceAndInOrder) {
  const std::vector<int64_t> rows = draw_rows(1000, 300, 42);
  EXPECT_TRUE(std::is_sorted(rows.begin(), rows.end()));
  EXPECT_EQ(std::adjacent_find(rows.begin(), rows.end()), rows.end());
  EXPECT_GE(rows.front(), 0);
  EXPECT_LT(rows.back(), 1000);
  std::vector<int64_t> all(1000);
  std::iota(all.begin(), all.end(), 0);
  EXPECT_EQ(draw_rows(1000, 1000, 7), all);
}

}  // namespace
}  // namespace ram
