// Statistics of losses by row: summaries of perplexity, and what may be said about the difference
// of two models on the same rows. Pure functions of numbers; docs/evaluation.md has the rules.
//
// A row is a sequence of tokens scored on its own: the unit of all sampling here, since tokens of
// one row are anything but independent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ram {

struct Interval {
  double low = 0;
  double high = 0;
  bool holds(double value) const { return low <= value && value <= high; }
};

/// @param sorted ascending, not empty. @param percent in [0, 100].
/// @source numpy.percentile, method "linear"
double percentile(std::span<const double> sorted, double percent);

/// Losses of the same rows, in the same order. All spans below that belong together have the same
/// length; tokens are at least 1.
struct Losses {
  std::span<const double> nll_sums;  ///< nats, summed over the tokens of a row
  std::span<const int64_t> tokens;   ///< scored, per row
};

struct PerplexitySummary {
  double mean = 0;                ///< exp(sum of all losses / sum of all tokens)
  double median = 0;              ///< of the rows' own perplexities
  std::optional<double> trimmed;  ///< as mean, without the ends; nothing for fewer than 3 rows
  int64_t trimmed_rows = 0;       ///< dropped at each end: max(1, floor(5 %))
  std::vector<int64_t> outliers;  ///< positions of rows with perplexity above 100, ascending
  std::vector<int64_t> worst;     ///< positions of up to five rows, the worst first
  std::optional<double> mean_without_worst;  ///< nothing if no row is left
  std::optional<double> median_without_worst;
};

/// @pre at least one row.
PerplexitySummary summarize_perplexity(const Losses& losses);

/// A difference of two models' losses per token, rows being the clusters.
struct PairedDifference {
  double delta = 0;           ///< (sum of a - sum of b) / tokens: nats per token
  double standard_error = 0;  ///< of the ratio estimator; NaN for fewer than two rows
  Interval t95;               ///< Student's, rows - 1 degrees of freedom; NaN as above
  double p = 1;               ///< two-sided, of delta = 0, from the same distribution
};

/// @param differences per row, sum of losses of a minus that of b.
/// @source W. G. Cochran, Sampling Techniques, 3rd ed., 6.4 (the ratio and its variance)
PairedDifference paired_difference(std::span<const double> differences,
                                   std::span<const int64_t> tokens);

struct BootstrapOptions {
  int64_t resamples = 10'000;
  uint64_t seed = 42;
  int threads = 1;  ///< the result does not depend on it
};

/// The percentile interval (2.5 % to 97.5 %) of the difference per token, rows drawn with
/// replacement, both models on the same draw. With one row it has no width.
/// @cost resamples * rows draws: 0.01 s for 150 rows
Interval bootstrap_interval(std::span<const double> differences, std::span<const int64_t> tokens,
                            const BootstrapOptions& options);

/// The same for the ratio of two sums over the same rows, of a's divergences to b's. It excludes 1
/// exactly if the interval of the difference excludes 0.
/// @pre the sums are of one length; b's are positive together in every resample that matters: one
///      in which they sum to zero counts as infinite.
Interval bootstrap_ratio_interval(std::span<const double> a_sums, std::span<const double> b_sums,
                                  const BootstrapOptions& options);

/// Two-sided exact binomial test of one half: how likely a split at least as uneven is.
/// @return 1 for total = 0. @pre 0 <= successes <= total.
/// @source scipy.stats.binomtest(successes, total, 0.5)
double binomial_test(int64_t successes, int64_t total);

/// Sign test: binomial_test of how many differences are positive; zeros are left out.
double sign_test(std::span<const double> differences);

/// Wilcoxon's signed-rank test, two-sided. Zeros are left out before ranking (zero_method
/// "wilcox"), there is no continuity correction. Exact for up to 50 differences without zeros and
/// ties, and for up to 13 with them; else the normal approximation, its variance corrected for
/// ties.
/// @return 1 if no difference is other than zero.
/// @source scipy.stats.wilcoxon, defaults, scipy 1.17
double wilcoxon_test(std::span<const double> differences);

/// Holm's correction: adjusted p-values, in the order given, at most 1.
/// @source S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979
std::vector<double> holm(std::span<const double> p_values);

/// Two-sided tail of Student's t distribution: P(|T| >= |t|). @pre degrees >= 1.
double student_two_sided(double t, double degrees);
/// The t with student_two_sided(t, degrees) = p. @pre 0 < p < 1.
double student_quantile(double p, double degrees);

/// A ranking of two models by the mean that few rows decide.
struct Inversion {
  bool a_better_by_mean = false;
  bool a_better_by_median = false;
  /// Positions of the fewest rows without which mean and median agree, the strongest first; empty
  /// if no removal of less than all rows does it.
  std::vector<int64_t> rows;
  double mean_a_without = 0;  ///< perplexities without those rows
  double mean_b_without = 0;
  double median_a_without = 0;
  double median_b_without = 0;
};

/// @return what happens if the mean perplexity ranks a and b otherwise than the median does;
/// nothing if they agree, or if either calls the two equal.
std::optional<Inversion> find_inversion(const Losses& a, const Losses& b);

/// @return the rows that make a better than b on the mean: the fewest without which it is not, the
/// strongest first, and what is left then. Nothing if a is not better.
std::optional<Inversion> explain_better_mean(const Losses& a, const Losses& b);

/// Right answers of two models to the same questions.
struct Flips {
  int64_t gained = 0;  ///< a is right and b is not
  int64_t lost = 0;    ///< the other way round
};

/// @return the standard error of one model's accuracy: sqrt(share (1 - share) / (questions - 1)),
/// as lm-evaluation-harness gives it; 0 for one question. @pre 0 <= right <= questions, questions
/// >= 1.
double accuracy_error(int64_t right, int64_t questions);

/// McNemar's exact test that neither model answers better: binomial_test of the flips.
/// @source Q. McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions,
///         1947
double mcnemar_test(const Flips& flips);

/// How likely McNemar's exact test at 5 % tells two models apart of which questions flip either way
/// with these probabilities. @pre each >= 0, together at most 1; questions >= 1.
/// @cost about questions * flip rate operations
double mcnemar_power(int64_t questions, double gain_rate, double loss_rate);

/// The least difference of accuracy that McNemar's exact test at 5 % finds in at least 80 % of
/// trials with so many questions, if as large a share of them flips as did; where the difference
/// needs more flips than that, all go one way. Below 6 / questions nothing is ever found.
/// @return a share in (0, 1]; 1 if not even that is found.
/// @pre 0 <= flipped <= questions. @cost about 20 times mcnemar_power
double detectable_difference(int64_t questions, int64_t flipped);

/// One model of a ladder of sizes, as a benchmark sees it.
struct LadderStep {
  double bits = 0;      ///< per weight
  double accuracy = 0;  ///< share of right answers
};

/// Two steps of a ladder, compared.
struct LadderPair {
  int a = 0;
  int b = 0;
  double p_holm = 1;
  double detectable = 0;  ///< detectable_difference of this pair
};

/// Whether a benchmark tells the models of a ladder apart.
struct LadderVerdict {
  double spread = 0;  ///< largest accuracy minus smallest
  int best = 0;       ///< steps with these
  int worst = 0;
  double detectable = 0;  ///< of that pair
  /// The pairs that it tells apart (p_holm < 0.05): of these, the two whose bits lie closest.
  std::optional<LadderPair> closest_told;
  bool saturated() const { return !closest_told && spread <= detectable; }
};

/// @param pairs at least that of the best and the worst step. @pre two steps or more.
LadderVerdict judge_ladder(std::span<const LadderStep> steps, std::span<const LadderPair> pairs);

/// n distinct indices below `population`, ascending: numpy's legacy
/// RandomState(seed).choice(population, n, replace=False), sorted.
/// @pre 0 <= n <= population.
/// @source numpy/random/mtrand.pyx, RandomState.choice, permutation, shuffle; _legacy_seeding
std::vector<int64_t> draw_rows(int64_t population, int64_t n, uint32_t seed);

}  // namespace ram
