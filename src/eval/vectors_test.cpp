// Statistics against those of scipy and numpy, from tests/vectors/statistics/make_vectors.py.
#include <cmath>
#include <fstream>
#include <numeric>

#include <gtest/gtest.h>

#include "ram/json.h"
#include "ram/number.h"
#include "ram/statistics.h"

namespace ram {
namespace {

using Json = nlohmann::json;

const Json& vectors() {
  static const Json kDocument = [] {
    std::ifstream file(RAM_SOURCE_DIR "/tests/vectors/statistics/vectors.json");
    return Json::parse(file);
  }();
  return kDocument;
}

std::vector<double> values_of(const Json& test) {
  return test.at("values").get<std::vector<double>>();
}

// Relative, and absolute below 1e-290.
void expect_close(double found, double wanted, double tolerance) {
  EXPECT_LE(std::fabs(found - wanted), tolerance * std::fabs(wanted) + 1e-290)
      << found << " instead of " << wanted;
}

TEST(StatisticsVectors, TestsOfRanksAndPercentilesAreScipysAndNumpys) {
  int tests = 0;
  for (const Json& test : vectors().at("tests")) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    std::vector<double> values = values_of(test);
    expect_close(wilcoxon_test(values).p, test.at("wilcoxon_p").get<double>(), 1e-9);
    expect_close(sign_test(values), test.at("sign_p").get<double>(), 1e-9);
    std::sort(values.begin(), values.end());
    for (const auto& [percent, value] : test.at("percentiles").items()) {
      EXPECT_DOUBLE_EQ(percentile(values, parse_number(percent).value()), value.get<double>())
          << percent;
    }
    ++tests;
  }
  EXPECT_EQ(tests, 13);
}

TEST(StatisticsVectors, WithRowsOfOneLengthThePairedDifferenceIsTheTTest) {
  for (const Json& test : vectors().at("paired")) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    // Rows of 7 tokens with sums of 7 times the value: the mean per token is the value.
    std::vector<double> differences = values_of(test);
    for (double& difference : differences) difference *= 7;
    const std::vector<int64_t> tokens(differences.size(), 7);
    const PairedDifference found = paired_difference(differences, tokens);
    expect_close(found.delta, test.at("delta").get<double>(), 1e-12);
    expect_close(found.standard_error, test.at("se").get<double>(), 1e-12);
    expect_close(found.p, test.at("p").get<double>(), 1e-9);
    const double width = found.t95.high - found.t95.low;
    EXPECT_NEAR(found.t95.low, test.at("low").get<double>(), 1e-10 * width);
    EXPECT_NEAR(found.t95.high, test.at("high").get<double>(), 1e-10 * width);
  }
}

TEST(StatisticsVectors, TheBootstrapIntervalIsScipysButForTheNoiseOfDrawing) {
  for (const Json& test : vectors().at("bootstraps")) {
    SCOPED_TRACE(test.at("name").get<std::string>());
    const std::vector<double> values = values_of(test);
    const std::vector<int64_t> tokens(values.size(), 1);
    const Interval found = bootstrap_interval(values, tokens, {.resamples = 50'000});
    // The standard error of a 2.5 % quantile from 50,000 draws is about 0.012 standard errors.
    const double tolerance = 0.04 * test.at("se").get<double>();
    EXPECT_NEAR(found.low, test.at("low").get<double>(), tolerance);
    EXPECT_NEAR(found.high, test.at("high").get<double>(), tolerance);
  }
}

TEST(StatisticsVectors, DistributionsAreScipys) {
  for (const Json& test : vectors().at("binomials")) {
    expect_close(
        binomial_test(test.at("successes").get<int64_t>(), test.at("total").get<int64_t>()),
        test.at("p").get<double>(), 1e-9);
  }
  for (const Json& test : vectors().at("students")) {
    const auto degrees = test.at("degrees").get<double>();
    SCOPED_TRACE(degrees);
    const auto t = test.at("t").get<double>();
    expect_close(student_two_sided(t, degrees), test.at("p").get<double>(), 1e-9);
  }
  for (const Json& test : vectors().at("quantiles")) {
    const auto degrees = test.at("degrees").get<double>();
    SCOPED_TRACE(degrees);
    const auto p = test.at("p").get<double>();
    expect_close(student_quantile(p, degrees), test.at("t").get<double>(), 1e-9);
  }
}

TEST(StatisticsVectors, HolmsCorrectionIsItsDefinition) {
  for (const Json& test : vectors().at("holm")) {
    const std::vector<double> found = holm(values_of(test));
    const auto wanted = test.at("adjusted").get<std::vector<double>>();
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i) expect_close(found[i], wanted[i], 1e-12);
  }
}

TEST(StatisticsVectors, RowsAreDrawnAsNumpysLegacyGeneratorDrawsThem) {
  int draws = 0;
  for (const Json& test : vectors().at("draws")) {
    const std::vector<int64_t> found =
        draw_rows(test.at("population").get<int64_t>(), test.at("n").get<int64_t>(),
                  test.at("seed").get<uint32_t>());
    EXPECT_EQ(found, test.at("rows").get<std::vector<int64_t>>());
    ++draws;
  }
  EXPECT_EQ(draws, 9);
}

}  // namespace
}  // namespace ram
