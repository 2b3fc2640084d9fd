// Statistics of losses by row: summaries of perplexity, and inference about the difference of two
// models on the same rows. Pure functions of numbers; docs/evaluation.md has the rules.
//
// A row is a sequence of tokens that is scored on its own. It is the unit of sampling here, since
// tokens of one row are not independent.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

namespace ram {

/// Intervals cover the truth in 1 - kLevel of all cases; tests reject true hypotheses in at most
/// kLevel.
inline constexpr double kLevel = 0.05;

/// Rows with a perplexity above this are outliers: text of another kind, or garbage.
inline constexpr double kOutlierPerplexity = 100;

struct Interval {
  double low = 0;
  double high = 0;
  bool holds(double value) const { return low <= value && value <= high; }
};

/// @param sorted ascending, not empty, may end in infinities. @param percent in [0, 100].
/// @return never NaN: between a finite and an infinite value the infinite one, between two infinite
///         ones the nearer.
/// @source numpy.percentile, method "linear", for finite values
double percentile(std::span<const double> sorted, double percent);

/// Losses of some rows. All spans below that belong together have the same rows in the same order;
/// tokens are at least 1.
struct Losses {
  std::span<const double> nll_sums;  ///< nats, summed over the tokens of a row
  std::span<const int64_t> tokens;   ///< scored, per row
};

struct PerplexitySummary {
  double mean = 0;                ///< exp(sum of all losses / sum of all tokens)
  double median = 0;              ///< of the rows' own perplexities
  std::optional<double> trimmed;  ///< as mean, without the extremes; nothing for fewer than 3 rows
  int64_t trimmed_rows = 0;       ///< dropped at each end: max(1, floor(5 %))
  std::vector<int64_t> outliers;  ///< positions of rows above kOutlierPerplexity, ascending
  std::vector<int64_t> worst;     ///< positions of up to five rows, the worst first
  std::optional<double> mean_without_worst;  ///< nothing if no row is left
  std::optional<double> median_without_worst;
};

/// @pre at least one row.
PerplexitySummary summarize_perplexity(const Losses& losses);

/// A difference of two models' losses per token, with rows as clusters.
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

/// The percentile interval (2.5 % to 97.5 %) of the difference per token; rows are drawn with
/// replacement, the same for both models. Its ends are values of resamples: if a percentile is
/// between two, the outer one. With one row its width is 0.
/// @cost resamples * rows draws: 0.01 s for 150 rows
Interval bootstrap_interval(std::span<const double> differences, std::span<const int64_t> tokens,
                            const BootstrapOptions& options);

/// The same for the ratio of two sums over the same rows, a's divergences to b's. It excludes 1
/// exactly if the interval of the difference excludes 0: a resample in which b's sum is zero counts
/// as infinite, or as 1 if a's is zero too.
/// @pre equal lengths; no sum is negative.
Interval bootstrap_ratio_interval(std::span<const double> a_sums, std::span<const double> b_sums,
                                  const BootstrapOptions& options);

/// Tests whether divergences are above a floor: Student's t on log(kl / (factor * floor)), with
/// rows as the sample. Since a geometric mean is below the arithmetic one, divergences that are
/// above by this test are above on average too.
/// @param kl, floor per row, sums over the same tokens.
/// @return the two-sided p if the rows are above on average; 1 if they are not, if a row does not
///         diverge at all, or with fewer than two rows.
double p_above_floor(std::span<const double> kl, std::span<const double> floor, double factor);

/// How many rows would distinguish two models, or show that their difference is within a margin, in
/// four of five trials, if the difference and its spread are as in `found`.
/// @param rows number of rows in `found`. @param margin of perplexity, as a share (0.005: half a
///         percent).
/// @param comparisons to correct for: p times this number must be below kLevel.
/// @return more than `rows`; nothing if `found` has no error, or if a billion are too few.
std::optional<int64_t> rows_to_tell(const PairedDifference& found, int64_t rows, double margin,
                                    int64_t comparisons);

/// @return whether a difference of losses changes perplexity by at most the margin: its 95 %
///         interval is within it. @param margin as rows_to_tell's.
bool within_margin(const PairedDifference& found, double margin);

/// The differences of losses that raise perplexity by less than the margin: one-sided at 2.5 %,
/// like the upper end of a 95 % interval, corrected by Holm's method over all of them, so that any
/// of them may be picked.
/// @param rows number of rows of each; a difference of one row has no error and is left out. @param
///         margin as rows_to_tell's.
/// @return positions, ascending.
std::vector<size_t> surely_below(std::span<const PairedDifference> differences,
                                 std::span<const int64_t> rows, double margin);

/// Two-sided exact binomial test of probability one half: how likely a split at least as uneven is.
/// @return 1 for total = 0. @pre 0 <= successes <= total.
/// @source scipy.stats.binomtest(successes, total, 0.5)
double binomial_test(int64_t successes, int64_t total);

/// Sign test: binomial_test of how many differences are positive; zeros are left out.
double sign_test(std::span<const double> differences);

/// The result of a rank test.
struct RankTest {
  double p = 1;
  int sign = 0;  ///< 1 if positive ranks outweigh negative ones, -1, or 0
};

/// Wilcoxon's signed-rank test, two-sided. Zeros are left out before ranking (zero_method
/// "wilcox"); there is no continuity correction. Exact for up to 50 differences without zeros and
/// ties, and for up to 13 with them; else the normal approximation, its variance corrected for
/// ties.
/// @return p = 1 if all differences are zero. The sign can differ from that of the median and of
///         most differences: a few large ones outrank many small ones.
/// @source scipy.stats.wilcoxon, defaults, scipy 1.17
RankTest wilcoxon_test(std::span<const double> differences);

/// Holm's correction: adjusted p-values, in the order given, at most 1.
/// @source S. Holm, A Simple Sequentially Rejective Multiple Test Procedure, 1979
std::vector<double> holm(std::span<const double> p_values);

/// Two-sided tail of Student's t distribution: P(|T| >= |t|). @pre degrees >= 1.
double student_two_sided(double t, double degrees);
/// The t with student_two_sided(t, degrees) = p. @pre 0 < p < 1.
double student_quantile(double p, double degrees);

/// A ranking of two models by the mean that is decided by few rows.
struct Inversion {
  bool a_better_by_mean = false;
  bool a_better_by_median = false;
  /// Positions of the fewest rows without which mean and median agree, the strongest first; empty
  /// if only the removal of all rows achieves that.
  std::vector<int64_t> rows;
  double mean_a_without = 0;  ///< perplexities without those rows
  double mean_b_without = 0;
  double median_a_without = 0;
  double median_b_without = 0;
};

/// @return the inversion if mean and median perplexity rank a and b differently; nothing if they
///         agree, or if a and b are equal by either.
std::optional<Inversion> find_inversion(const Losses& a, const Losses& b);

/// @return the rows that make a better than b on the mean: the fewest without which it is not, the
///         strongest first, with the perplexities of the other rows. Nothing if a is not better.
std::optional<Inversion> explain_better_mean(const Losses& a, const Losses& b);

/// Right answers of two models to the same questions.
struct Flips {
  int64_t gained = 0;  ///< a is right and b is not
  int64_t lost = 0;    ///< b is right and a is not
};

/// @return the standard error of one model's accuracy: sqrt(share (1 - share) / (questions - 1)),
/// as lm-evaluation-harness gives it; 0 for one question. @pre 0 <= right <= questions, questions
/// >= 1.
double accuracy_error(int64_t right, int64_t questions);

/// McNemar's exact test of the hypothesis that neither model answers better: binomial_test of the
/// flips.
/// @source Q. McNemar, Note on the Sampling Error of the Difference Between Correlated Proportions,
///         1947
double mcnemar_test(const Flips& flips);

/// The probability that McNemar's exact test at 5 % distinguishes two models whose answers flip
/// either way with these probabilities. @pre each >= 0, together at most 1; questions >= 1.
/// @param comparisons to correct for: p times this number must be below kLevel.
/// @cost about questions * flip rate operations
double mcnemar_power(int64_t questions, double gain_rate, double loss_rate,
                     int64_t comparisons = 1);

/// The least difference of accuracy that McNemar's exact test at 5 % finds in at least 80 % of
/// trials with that many questions, if the share of flips stays the same; if the difference needs
/// more flips than that, all go one way. Below 6 / questions nothing is ever found.
/// @param comparisons as mcnemar_power's.
/// @return a share in (0, 1]; 1 even if that is not found either.
/// @pre 0 <= flipped <= questions. @cost about 20 times mcnemar_power
double detectable_difference(int64_t questions, int64_t flipped, int64_t comparisons = 1);

/// The fewest questions with which McNemar's exact test at 5 % finds a difference of accuracy in 80
/// % of trials, if this share of them flips (or as many as the difference needs).
/// @param comparisons as mcnemar_power's.
/// @return nothing if 4 million are too few. @pre difference in (0, 1], flip_rate in [0, 1].
/// @cost about 30 times mcnemar_power
std::optional<int64_t> questions_to_detect(double difference, double flip_rate,
                                           int64_t comparisons = 1);

/// The 95 % interval of a share: Clopper and Pearson's, which covers any true share, 0 and 1
/// included, in at least 95 % of cases.
/// @param level 0.05 for 95 %. @pre 0 <= hits <= trials, trials >= 1.
/// @source C. J. Clopper, E. S. Pearson, The Use of Confidence or Fiducial Limits, 1934
Interval share_interval(int64_t hits, int64_t trials, double level = kLevel);

/// The 95 % interval of the difference of two accuracies on the same, independent questions:
/// Tango's score interval. Its width is never 0.
/// @source T. Tango, Equivalence Test and Confidence Interval for the Difference in Proportions for
///         the Paired-Sample Design, 1998
Interval flips_interval(const Flips& flips, int64_t questions);

/// A difference of accuracy that matters: a benchmark that cannot show it has too few questions,
/// and models that differ by less count as equal.
inline constexpr double kTellingDifference = 0.02;

/// One model of a ladder of sizes, with its result on a benchmark.
struct LadderStep {
  double bits = 0;  ///< per weight
  int64_t right = 0;
  int64_t questions = 1;
  double chance = 0;  ///< accuracy of guessing

  double accuracy() const { return static_cast<double>(right) / static_cast<double>(questions); }
};

/// How the models' accuracies compare with guessing.
enum class Chance : uint8_t {
  kAbove,    ///< some model is better: at 2.5 %, corrected for the number of models
  kBelow,    ///< else: every 95 % interval ends below chance
  kAt,       ///< else: every 95 % interval ends below chance + kTellingDifference
  kUnknown,  ///< else: too few questions
};

/// @return whether no model is above chance by kTellingDifference.
constexpr bool is_at_most(Chance beside_chance) {
  return beside_chance == Chance::kAt || beside_chance == Chance::kBelow;
}

/// @param steps one or more.
Chance judge_chance(std::span<const LadderStep> steps);

/// Two steps of a ladder, compared on the same questions.
struct LadderPair {
  int a = 0;
  int b = 0;
  double p_holm = 1;
  double detectable = 0;  ///< detectable_difference of this pair
  Interval ci95;          ///< of the difference of the accuracies
  int64_t questions = 0;
  int64_t flipped = 0;  ///< of these
  /// How much larger a difference must be for the test over subjects than for that over questions;
  /// 1 if it need not be larger.
  double subject_factor = 1;
};

enum class LadderKind : uint8_t {
  kTells,         ///< some pair differs: p_holm < kLevel, and its interval excludes 0
  kSaturated,     ///< every pair is within kTellingDifference, by its 95 % interval
  kAtChance,      ///< the same, with Chance::kAt or kBelow
  kUnderpowered,  ///< a difference of kTellingDifference would hardly be found
  kOpen,          ///< none of these: no difference was found, but larger ones are not excluded
};

/// Whether a benchmark distinguishes the models of a ladder.
struct LadderVerdict {
  LadderKind kind = LadderKind::kOpen;
  Chance beside_chance = Chance::kUnknown;  ///< of any kind
  double chance = 0;                        ///< accuracy of guessing
  double spread = 0;                        ///< largest accuracy minus smallest
  int best = 0;                             ///< steps with the extreme accuracies
  int worst = 0;
  double detectable = 0;  ///< the largest of all pairs
  double most_apart = 0;  ///< the largest absolute end of all pairs' intervals
  /// For kUnderpowered: how many questions would show kTellingDifference for that pair too; nothing
  /// if the subjects are too few or differ too much.
  std::optional<int64_t> questions_needed;
  /// Of the pairs that it distinguishes, the one whose bits are closest.
  std::optional<LadderPair> closest_told;
};

/// @param pairs of the steps. @param comparisons that p_holm and detectable are corrected for.
/// @pre two steps or more, one pair or more.
LadderVerdict judge_ladder(std::span<const LadderStep> steps, std::span<const LadderPair> pairs,
                           int64_t comparisons = 1);

/// n distinct indices below `population`, ascending: numpy's legacy
/// RandomState(seed).choice(population, n, replace=False), sorted.
/// @pre 0 <= n <= population.
/// @source numpy/random/mtrand.pyx, RandomState.choice, permutation, shuffle; _legacy_seeding
std::vector<int64_t> draw_rows(int64_t population, int64_t n, uint32_t seed);

}  // namespace ram
