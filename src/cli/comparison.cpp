// Text of a comparison: the overview table, pairs, inversions.
#include "comparison.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "ram/eval_json.h"
#include "ram/eval_verdict.h"
#include "ram/size.h"
#include "ram/table.h"

namespace ram::cli {
namespace {

constexpr size_t kLabelWidth = 28;

std::string ratio_text(const PairTest& test) {
  if (!test.kl_ratio) return "";
  return fmt::format("; {:.3g} times its KL ({:.3g} to {:.3g})", *test.kl_ratio,
                     test.kl_ratio95.low, test.kl_ratio95.high);
}

std::string pairs_text(const Comparison& comparison, const std::vector<std::string>& labels) {
  std::string text;
  for (const PairTest& test : comparison.pairs) {
    if (test.b == 0) continue;
    text += wrapped(
        fmt::format("{} against {}: {} (p = {:.2g}){}{}", labels[static_cast<size_t>(test.a)],
                    labels[static_cast<size_t>(test.b)], pair_verdict(comparison, test, labels),
                    test.p_holm, is_inverted(comparison, test.a, test.b) ? " *" : "",
                    ratio_text(test)),
        kTextWidth, 2);
  }
  return text.empty() ? text : "\n" + text;
}

// @param shown rows whose text has been shown already.
std::string inversion_text(const InversionReport& report, const std::vector<std::string>& labels,
                           std::set<int64_t>& shown) {
  const std::string& mean = labels[static_cast<size_t>(report.better_by_mean)];
  const std::string& median = labels[static_cast<size_t>(report.better_by_median)];
  const std::string& other = labels[static_cast<size_t>(report.other)];
  std::string text = "\n";
  const auto say = [&text](const std::string& line) { text += wrapped(line, kTextWidth, 2); };
  if (report.better_by_mean != report.better_by_median) {
    say(fmt::format("INVERSION: the mean says {} is better, the median says {}", mean, median));
  } else {
    say(fmt::format("INVERSION: {} is better than its reference on the mean", mean));
  }
  constexpr size_t kRowsShown = 10;
  if (!report.rows.empty()) {
    std::string rows = fmt::format("  {} row{} it:", report.rows.size(),
                                   report.rows.size() == 1 ? " does" : "s do");
    for (size_t i = 0; i < std::min(report.rows.size(), kRowsShown); ++i) {
      rows += fmt::format(" {}", report.rows[i]);
    }
    if (report.rows.size() > kRowsShown) rows += " ...";
    say(rows);
    say(fmt::format("  without: {} for {}, {} for {}", four_digits(report.mean_better_without),
                    mean, four_digits(report.mean_other_without), other));
  }
  const std::optional<int> better = report.better();
  say(better ? fmt::format("  believe the {} ({} is better): {}", belief_name(report.belief),
                           labels[static_cast<size_t>(*better)], report.why)
             : fmt::format("  believe neither: {}", report.why));
  if (!better) return text;  // chance: its rows are not worth showing
  // Other pairs have the same rows: each row is shown once.
  std::vector<WorstRow> fresh;
  for (const WorstRow& row : report.excerpts) {
    if (shown.insert(row.row).second) fresh.push_back(row);
  }
  return fresh.empty() ? text : text + worst_table(fresh, "reference");
}

}  // namespace

std::string comparison_table(const Comparison& comparison, const std::vector<std::string>& labels) {
  Table table(
      {{"model", Align::kLeft}, {"size"}, {"bits"}, {"mean"}, {"median"}, {"KL"}, {"top-1"}});
  const auto add = [&](const std::string& label, const Perplexity& perplexity, std::string kl,
                       std::string top) {
    table.add({shorten(label, kLabelWidth), format_bytes(perplexity.model.bytes),
               fmt::format("{:.2f}", perplexity.model.bits_per_weight),
               four_digits(perplexity.summary.mean), four_digits(perplexity.summary.median),
               std::move(kl), std::move(top)});
  };
  add(labels.front(), comparison.reference, "", "");
  size_t widest = 0;
  for (size_t m = 0; m < comparison.models.size(); ++m) {
    const ComparedModel& model = comparison.models[m];
    add(labels[m + 1], model.perplexity, fmt::format("{:.3g}", model.divergence.mean),
        fmt::format("{:.1f} %", 100 * model.divergence.same_top1));
    widest = std::max(widest, text_width(shorten(labels[m + 1], kLabelWidth)));
  }
  std::string text = table.render(kTextWidth);
  text += "\n";
  text += wrapped(
      fmt::format("Mean perplexity against {} (± is half of the 95 % interval):", labels.front()),
      kTextWidth, 0);
  for (size_t m = 0; m < comparison.models.size(); ++m) {
    const std::string label = shorten(labels[m + 1], kLabelWidth);
    const bool inverted = is_inverted(comparison, static_cast<int>(m) + 1, 0);
    // A separate column, if there are any: at the end of the line it would wrap.
    const std::string star = comparison.inversions.empty() ? "" : inverted ? "* " : "  ";
    std::string line = label;
    line.append(widest - text_width(label) + 2, ' ');
    line += star;
    line += pair_verdict(comparison, comparison.models[m].against_reference, labels);
    text += wrapped(line, kTextWidth, widest + 2 + star.size());
  }
  if (comparison.inversions.empty()) return text;
  return text + "* mean and median disagree, or the model scores better than its original\n";
}

std::string comparison_text(const TextArguments& arguments, const Comparison& comparison,
                            const std::vector<std::string>& labels) {
  std::string text = text_line(arguments, comparison.text) + "\n";
  text += comparison_table(comparison, labels);
  text += pairs_text(comparison, labels);
  text += "\n";
  text += wrapped(fmt::format("{} comparison{}, corrected by Holm's method; verdicts are of "
                              "the mean perplexity, tied within {:.3g} % of it (--margin).",
                              comparison.pairs.size(), comparison.pairs.size() == 1 ? "" : "s",
                              100 * comparison.margin),
                  kTextWidth, 0);
  text += wrapped(noise_text(comparison), kTextWidth, 0);
  std::set<int64_t> shown;
  for (const InversionReport& report : comparison.inversions) {
    text += inversion_text(report, labels, shown);
  }
  return text;
}

std::string noise_text(const Comparison& comparison) {
  return fmt::format(
      "Noise floor: KL {:.3g}, the reference in bf16 against itself in float32; up to {} times "
      "that "
      "is a tie.",
      comparison.noise_floor.mean, kNoiseFactor);
}

}  // namespace ram::cli
