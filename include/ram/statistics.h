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

/// Intervals hold in 1 - kLevel of all cases, and tests reject true hypotheses in at most kLevel.
inline constexpr double kLevel = 0.05;

/// Rows with a perplexity above this are text of another kind, or garbage.
inline constexpr double kOutlierPerplexity = 100;

struct Interval {
  double low = 0;
  double high = 0;
  bool holds(double value) const { return low <= value && value <= high; }
};

/// @param sorted ascending, not empty, may end in infinities. @param percent in [0, 100].
/// @return between a finite and an infinite value the infinite one, between two infinite ones the
/// nearer: never NaN.
/// @source numpy.percentile, method "linear", for finite values
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
  std::vector<int64_t> outliers;  ///< positions of rows above kOutlierPerplexity, ascending
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
/// replacement, both models on the same draw. Its ends are values of resamples, the outer ones
/// where a percentile lies between two. With one row it has no width.
/// @cost resamples * rows draws: 0.01 s for 150 rows
Interval bootstrap_interval(std::span<const double> differences, std::span<const int64_t> tokens,
                            const BootstrapOptions& options);

/// The same for the ratio of two sums over the same rows, of a's divergences to b's. It excludes 1
/// exactly if the interval of the difference excludes 0: a resample in which b's sum to zero counts
/// as infinite, and as 1 where a's do too.
/// @pre the sums are of one length, none is negative.
Interval bootstrap_ratio_interval(std::span<const double> a_sums, std::span<const double> b_sums,
                                  const BootstrapOptions& options);

/// Whether divergences lie above a floor, beyond chance: Student's t on log(kl / (factor * floor)),
/// rows being the sample. Since a geometric mean is below the arithmetic one, what is above by this
/// test is above on average too.
/// @param kl, floor per row, sums over the same tokens.
/// @return the two-sided p where the rows lie above on average; 1 where they do not, where a row
/// does not diverge at all, or with fewer than two rows.
double p_above_floor(std::span<const double> kl, std::span<const double> floor, double factor);

/// How many rows would tell two models apart, or put their difference within a margin, in four of
/// five trials, if it and its spread are as `found`.
/// @param rows that `found` is of. @param margin of perplexity, as a share (0.005: half a percent).
/// @param comparisons that a difference must hold against: p times these is below kLevel.
/// @return more than `rows`; nothing where `found` has no error, or a billion are too few.
std::optional<int64_t> rows_to_tell(const PairedDifference& found, int64_t rows, double margin,
                                    int64_t comparisons);

/// @return whether a difference of losses surely changes perplexity by no more than the margin: its
/// 95 % interval lies within. @param margin as rows_to_tell's.
bool within_margin(const PairedDifference& found, double margin);

/// The differences of losses that surely raise perplexity by less than the margin: one-sided at
/// 2.5 %, as the upper end of a 95 % interval is, corrected by Holm's method over all of them, so
/// that any of them may be picked.
/// @param rows that each is of; one has no error and is left out. @param margin as rows_to_tell's.
/// @return positions, ascending.
std::vector<size_t> surely_below(std::span<const PairedDifference> differences,
                                 std::span<const int64_t> rows, double margin);

/// Two-sided exact binomial test of one half: how likely a split at least as uneven is.
/// @return 1 for total = 0. @pre 0 <= successes <= total.
/// @source scipy.stats.binomtest(successes, total, 0.5)
double binomial_test(int64_t successes, int64_t total);

/// Sign test: binomial_test of how many differences are positive; zeros are left out.
double sign_test(std::span<const double> differences);

/// What a test of ranks finds.
struct RankTest {
  double p = 1;
  int sign = 0;  ///< of what it sees: 1 where positive ranks outweigh negative ones, -1, or 0
};

/// Wilcoxon's signed-rank test, two-sided. Zeros are left out before ranking (zero_method
/// "wilcox"), there is no continuity correction. Exact for up to 50 differences without zeros and
/// ties, and for up to 13 with them; else the normal approximation, its variance corrected for
/// ties.
/// @return p = 1 if no difference is other than zero. The sign can differ from that of the median
/// and of most differences: few large ones outrank many small ones.
/// @source scipy.stats.wilcoxon, defaults, scipy 1.17
RankTest wilcoxon_test(std::span<const double> differences);

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
/// @param comparisons that the difference must hold against: p times these is below kLevel.
/// @cost about questions * flip rate operations
double mcnemar_power(int64_t questions, double gain_rate, double loss_rate,
                     int64_t comparisons = 1);

/// The least difference of accuracy that McNemar's exact test at 5 % finds in at least 80 % of
/// trials with so many questions, if as large a share of them flips as did; where the difference
/// needs more flips than that, all go one way. Below 6 / questions nothing is ever found.
/// @param comparisons as mcnemar_power's.
/// @return a share in (0, 1]; 1 if not even that is found.
/// @pre 0 <= flipped <= questions. @cost about 20 times mcnemar_power
double detectable_difference(int64_t questions, int64_t flipped, int64_t comparisons = 1);

/// The fewest questions of which McNemar's exact test at 5 % finds a difference of accuracy in 80 %
/// of trials, if this share of them flips (or as many as the difference takes).
/// @param comparisons as mcnemar_power's.
/// @return nothing if 4 million are too few. @pre difference in (0, 1], flip_rate in [0, 1].
/// @cost about 30 times mcnemar_power
std::optional<int64_t> questions_to_detect(double difference, double flip_rate,
                                           int64_t comparisons = 1);

/// The 95 % interval of a share: Clopper and Pearson's, which holds in at least 95 % of cases
/// whatever the share is, 0 and 1 among them.
/// @param level 0.05 for 95 %. @pre 0 <= hits <= trials, trials >= 1.
/// @source C. J. Clopper, E. S. Pearson, The Use of Confidence or Fiducial Limits, 1934
Interval share_interval(int64_t hits, int64_t trials, double level = kLevel);

/// The 95 % interval of the difference of two accuracies on the same questions, which are
/// independent: Tango's, of the score. Never without width.
/// @source T. Tango, Equivalence Test and Confidence Interval for the Difference in Proportions for
///         the Paired-Sample Design, 1998
Interval flips_interval(const Flips& flips, int64_t questions);

/// A difference of accuracy that a reader cares for: a benchmark that cannot show so much has too
/// few questions, and models that lie closer are alike on it.
inline constexpr double kTellingDifference = 0.02;

/// One model of a ladder of sizes, as a benchmark sees it.
struct LadderStep {
  double bits = 0;  ///< per weight
  int64_t right = 0;
  int64_t questions = 1;
  double chance = 0;  ///< accuracy of guessing

  double accuracy() const { return static_cast<double>(right) / static_cast<double>(questions); }
};

/// What models' accuracies are known to be beside that of guessing.
enum class Chance : uint8_t {
  kAbove,    ///< some model answers better: at 2.5 %, corrected for the number of models
  kBelow,    ///< else: the 95 % interval of each ends below chance
  kAt,       ///< else: that of each ends below chance + kTellingDifference
  kUnknown,  ///< else: too few questions
};

/// @return whether no model is above it by kTellingDifference.
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
  /// 1 where it need not.
  double subject_factor = 1;
};

enum class LadderKind : uint8_t {
  kTells,         ///< some pair differs: p_holm < kLevel, and its interval does not hold 0
  kSaturated,     ///< every pair lies within kTellingDifference, by its 95 % interval
  kAtChance,      ///< the same, and Chance::kAt or kBelow
  kUnderpowered,  ///< a difference of kTellingDifference would hardly be found
  kOpen,          ///< neither: larger differences were not found, and are not excluded
};

/// Whether a benchmark tells the models of a ladder apart.
struct LadderVerdict {
  LadderKind kind = LadderKind::kOpen;
  Chance beside_chance = Chance::kUnknown;  ///< of whatever kind
  double chance = 0;                        ///< accuracy of guessing
  double spread = 0;                        ///< largest accuracy minus smallest
  int best = 0;                             ///< steps with these
  int worst = 0;
  double detectable = 0;  ///< the largest of all pairs
  double most_apart = 0;  ///< the farthest end of all pairs' intervals
  /// Of kUnderpowered: how many questions would show kTellingDifference of that pair too; nothing
  /// where it is subjects that are too few or differ too much.
  std::optional<int64_t> questions_needed;
  /// The pairs that it tells apart: of these, the two whose bits lie closest.
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
