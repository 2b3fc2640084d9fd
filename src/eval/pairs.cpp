// Pairs of models: differences, tests, and verdicts.
#include "pairs.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ram/error.h"

namespace ram {
namespace {

PairTest test_pair(const Perplexity& a, const Perplexity& b, uint64_t seed, int threads) {
  std::vector<double> differences;
  std::vector<double> means;
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < a.rows.size(); ++i) {
    differences.push_back(a.rows[i].nll_sum - b.rows[i].nll_sum);
    tokens.push_back(a.rows[i].tokens);
    means.push_back(differences.back() / static_cast<double>(tokens.back()));
  }
  PairTest test;
  test.difference = paired_difference(differences, tokens);
  test.bootstrap95 = bootstrap_interval(differences, tokens, {.seed = seed, .threads = threads});
  test.sign_p = sign_test(means);
  const RankTest ranks = wilcoxon_test(means);
  test.wilcoxon_p = ranks.p;
  test.wilcoxon_sign = ranks.sign;
  std::sort(means.begin(), means.end());
  test.median_difference = percentile(means, 50);
  return test;
}

void compare_divergences(PairTest& test, std::span<const double> a, std::span<const double> b,
                         const Perplexity& rows, const BootstrapOptions& options) {
  std::vector<double> differences;
  std::vector<int64_t> tokens;
  for (size_t i = 0; i < rows.rows.size(); ++i) {
    differences.push_back(a[i] - (b.empty() ? 0 : b[i]));
    tokens.push_back(rows.rows[i].tokens);
  }
  test.kl = paired_difference(differences, tokens);
  const double below = std::accumulate(b.begin(), b.end(), 0.0);
  if (below <= 0) return;
  test.kl_ratio = std::accumulate(a.begin(), a.end(), 0.0) / below;
  test.kl_ratio95 = bootstrap_ratio_interval(a, b, options);
}

Verdict verdict_of(const PairTest& test, bool within_noise, double margin) {
  if (std::isnan(test.difference.standard_error)) return Verdict::kTooFewRows;
  if (within_noise) return Verdict::kWithinNoise;
  if (test.p_holm < kLevel) return test.difference.delta > 0 ? Verdict::kWorse : Verdict::kBetter;
  return within_margin(test.difference, margin) ? Verdict::kTied : Verdict::kTooFewRows;
}

}  // namespace

const Perplexity& perplexity_of(const Comparison& comparison, int which) {
  if (which == 0) return comparison.reference;
  return comparison.models[static_cast<size_t>(which - 1)].perplexity;
}

namespace {

/// Empty for the reference, which does not diverge from itself.
std::span<const double> row_divergences(const Comparison& comparison, int which) {
  if (which == 0) return {};
  return comparison.models[static_cast<size_t>(which - 1)].divergence.row_sums;
}

// Whether a model is within its reference's rounding; the reference itself is.
bool is_within(const Comparison& comparison, int which, double limit) {
  return which == 0 || comparison.models[static_cast<size_t>(which - 1)].divergence.mean <= limit;
}

}  // namespace

void test_pairs(Comparison& comparison, uint64_t seed, int threads) {
  const auto count = static_cast<int>(comparison.models.size()) + 1;
  const double limit = kNoiseFactor * comparison.noise_floor.mean;
  std::vector<double> p_values;
  std::vector<double> kl_p_values;
  for (int b = 0; b < count; ++b) {
    for (int a = b + 1; a < count; ++a) {
      PairTest test =
          test_pair(perplexity_of(comparison, a), perplexity_of(comparison, b), seed, threads);
      test.a = a;
      test.b = b;
      compare_divergences(test, row_divergences(comparison, a), row_divergences(comparison, b),
                          comparison.reference, {.seed = seed, .threads = threads});
      test.kl_p = b > 0 ? test.kl.p
                        : p_above_floor(row_divergences(comparison, a),
                                        comparison.noise_floor.row_sums, kNoiseFactor);
      // Most rows may be above while the mean, which decides the verdict, is not.
      if (is_within(comparison, a, limit) && is_within(comparison, b, limit)) test.kl_p = 1;
      p_values.push_back(test.difference.p);
      kl_p_values.push_back(test.kl_p);
      comparison.pairs.push_back(test);
    }
  }
  const std::vector<double> adjusted = holm(p_values);
  const std::vector<double> kl_adjusted = holm(kl_p_values);
  for (size_t i = 0; i < adjusted.size(); ++i) {
    comparison.pairs[i].p_holm = adjusted[i];
    comparison.pairs[i].kl_p_holm = kl_adjusted[i];
  }
  judge(comparison, kDefaultMargin);
}

void judge(Comparison& comparison, double margin) {
  RAM_CHECK(margin > 0 && margin <= 1);
  comparison.margin = margin;
  const double limit = kNoiseFactor * comparison.noise_floor.mean;
  for (PairTest& test : comparison.pairs) {
    test.verdict = verdict_of(
        test, is_within(comparison, test.a, limit) && is_within(comparison, test.b, limit), margin);
    test.rows_needed.reset();
    if (test.verdict == Verdict::kTooFewRows) {
      test.rows_needed = rows_to_tell(test.difference, std::ssize(comparison.reference.rows),
                                      margin, std::ssize(comparison.pairs));
    }
    if (test.b == 0) {
      const ComparedModel& model = comparison.models[static_cast<size_t>(test.a - 1)];
      test.kl_far = model.divergence.mean > kFarFactor * comparison.noise_floor.mean;
    }
    if (test.b == 0) comparison.models[static_cast<size_t>(test.a - 1)].against_reference = test;
  }
}

}  // namespace ram
