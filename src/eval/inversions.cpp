// The rules of docs/evaluation.md, "Which ranking to believe".
#include "inversions.h"

#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "pairs.h"

namespace ram {
namespace {

// "A few rows": what trimming would have dropped at one end, or more if they are unlike the others.
constexpr double kFewShare = 0.05;
constexpr double kMostShare = 1.0 / 3;
constexpr double kOutlierFactor = 10;  // of the median
constexpr size_t kMostExcerpts = 5;
constexpr size_t kExcerptWidth = 60;

/// Results of the tests of a pair, and how many rows decide its mean.
struct Evidence {
  size_t decisive = 0;
  size_t all = 0;
  bool few = false;                    // the decisive rows are few ...
  bool outliers = false;               // ... or all of them unlike the others
  bool mean_holds = false;             // the difference of the means is more than chance
  std::optional<int> row_by_row = {};  // the model that Wilcoxon's test prefers, if any
  double mean_p = 1;
  double ranks_p = 1;

  std::string rows() const {
    return fmt::format("{} of {} rows{}", decisive, all, outliers ? ", all of them outliers," : "");
  }
};

// Whether all decisive rows are far above the reference's median, as text of another kind is.
bool all_outliers(const InversionReport& report, const Perplexity& reference) {
  const double limit = std::max(kOutlierPerplexity, kOutlierFactor * reference.summary.median);
  size_t beyond = 0;
  for (const RowScore& row : reference.rows) {
    const bool decisive =
        std::find(report.rows.begin(), report.rows.end(), row.row) != report.rows.end();
    const double perplexity = std::exp(row.nll_sum / static_cast<double>(row.tokens));
    beyond += decisive && perplexity > limit ? 1 : 0;
  }
  return beyond == report.rows.size();
}

Evidence gather(const InversionReport& report, const PairTest& test, const Perplexity& reference) {
  Evidence e{.decisive = report.rows.size(), .all = reference.rows.size()};
  const auto share = [&](double part) {
    return std::max<size_t>(1, static_cast<size_t>(part * static_cast<double>(e.all)));
  };
  e.outliers = e.decisive > 0 && e.decisive <= share(kMostShare) && all_outliers(report, reference);
  e.few = e.outliers || (e.decisive > 0 && e.decisive <= share(kFewShare));
  e.mean_p = test.difference.p;
  e.ranks_p = test.wilcoxon_p;
  e.mean_holds = e.mean_p < kLevel;
  if (e.ranks_p < kLevel) e.row_by_row = test.wilcoxon_sign < 0 ? test.a : test.b;
  return e;
}

using Judgement = std::pair<Belief, std::string>;

// A model that beats its reference on both mean and median.
Judgement judge_better(const Evidence& e) {
  if (e.few) {
    return {Belief::kNeither, fmt::format("{} make it better; without them it is not", e.rows())};
  }
  if (e.mean_holds) {
    return {
        Belief::kMean,
        fmt::format("the difference is spread over many rows and more than chance (p = {:.2g}): "
                    "on this text it is better; KL says how far it has moved",
                    e.mean_p)};
  }
  return {Belief::kNeither, fmt::format("the difference may be chance (p = {:.2g})", e.mean_p)};
}

Judgement judge_contradiction(const InversionReport& report, const Evidence& e) {
  const std::string ranks = fmt::format("Wilcoxon's p = {:.2g}", e.ranks_p);
  if (e.row_by_row == report.better_by_mean) {
    return {
        Belief::kMean,
        fmt::format("row by row the same model is better ({}); the two medians are of different "
                    "rows",
                    ranks)};
  }
  if (e.row_by_row == report.better_by_median) {
    if (e.few) {
      return {Belief::kMedian,
              fmt::format("{} decide the mean; without them it agrees with the median, and row by "
                          "row the same model is better ({})",
                          e.rows(), ranks)};
    }
    if (!e.mean_holds) {
      return {
          Belief::kMedian,
          fmt::format("the means differ by no more than chance (p = {:.2g}), and row by row the "
                      "same model is better ({})",
                      e.mean_p, ranks)};
    }
    return {
        Belief::kNeither,
        fmt::format("one is better row by row ({}), the other by the means (p = {:.2g}): look at "
                    "KL",
                    ranks, e.mean_p)};
  }
  if (e.few) {
    return {Belief::kNeither,
            fmt::format("{} decide the mean, and row by row the difference may be chance ({})",
                        e.rows(), ranks)};
  }
  if (e.mean_holds) {
    return {Belief::kMean,
            fmt::format("the difference of the means is spread over many rows and more than chance "
                        "(p = {:.2g})",
                        e.mean_p)};
  }
  return {Belief::kNeither,
          fmt::format("the difference may be chance (p = {:.2g}, {})", e.mean_p, ranks)};
}

// Sets belief and its reason.
void judge(InversionReport& report, const PairTest& test, const Perplexity& reference) {
  if (test.verdict == Verdict::kWithinNoise) {
    report.why = fmt::format("both lie within {} times the rounding noise of the reference: tied",
                             kNoiseFactor);
    return;
  }
  const Evidence evidence = gather(report, test, reference);
  std::tie(report.belief, report.why) = report.better_by_mean == report.better_by_median
                                            ? judge_better(evidence)
                                            : judge_contradiction(report, evidence);
}

InversionReport make_report(const Comparison& comparison, const Tokenizer& tokenizer,
                            const PairTest& test, const Inversion& found) {
  InversionReport report;
  report.better_by_mean = found.a_better_by_mean ? test.a : test.b;
  report.better_by_median = found.a_better_by_median ? test.a : test.b;
  report.other = found.a_better_by_mean ? test.b : test.a;
  report.beats_reference = test.b == 0 && found.a_better_by_mean;
  const std::vector<RowScore>& rows = comparison.reference.rows;
  for (const int64_t position : found.rows) {
    const auto p = static_cast<size_t>(position);
    report.rows.push_back(rows[p].row);
    if (report.excerpts.size() == kMostExcerpts) continue;
    report.excerpts.push_back(
        {.row = rows[p].row,
         .perplexity = std::exp(rows[p].nll_sum / static_cast<double>(rows[p].tokens)),
         .excerpt = excerpt(tokenizer, comparison.text.rows[p], kExcerptWidth)});
  }
  report.mean_better_without = found.a_better_by_mean ? found.mean_a_without : found.mean_b_without;
  report.mean_other_without = found.a_better_by_mean ? found.mean_b_without : found.mean_a_without;
  judge(report, test, comparison.reference);
  return report;
}

}  // namespace

std::optional<int> InversionReport::better() const {
  if (belief == Belief::kNeither) return std::nullopt;
  return belief == Belief::kMean ? better_by_mean : better_by_median;
}

std::vector<InversionReport> find_inversions(const Comparison& comparison,
                                             const Tokenizer& tokenizer) {
  std::vector<InversionReport> reports;
  std::vector<double> sums_a;
  std::vector<double> sums_b;
  std::vector<int64_t> tokens_a;
  std::vector<int64_t> tokens_b;
  for (const PairTest& test : comparison.pairs) {
    const Losses a = perplexity_of(comparison, test.a).losses(sums_a, tokens_a);
    const Losses b = perplexity_of(comparison, test.b).losses(sums_b, tokens_b);
    std::optional<Inversion> found = find_inversion(a, b);
    if (!found && test.b == 0) found = explain_better_mean(a, b);
    if (found) reports.push_back(make_report(comparison, tokenizer, test, *found));
  }
  return reports;
}

}  // namespace ram
