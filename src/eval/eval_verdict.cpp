// Verdicts on a pair of models, in words.
#include "ram/eval_verdict.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/size.h"

namespace ram {
namespace {

double percent(double delta) {
  return 100 * std::expm1(delta);
}

// Half the width of the 95 % interval of a change of perplexity, in percent.
double reach_of(const PairTest& test) {
  return (percent(test.difference.t95.high) - percent(test.difference.t95.low)) / 2;
}

int digits_of(double reach) {
  return reach < 0.1 ? 2 : reach < 10 ? 1 : 0;
}

std::string few_rows_text(const PairTest& test) {
  if (std::isnan(test.difference.standard_error)) return "one row: no error known";
  const double reach = reach_of(test);
  std::string text = fmt::format("too few rows to tell (±{:.{}f} %", reach, digits_of(reach));
  if (test.rows_needed) {
    text += fmt::format("; about {} would do", group_digits(*test.rows_needed));
  }
  return text + ")";
}

// What divergences add if perplexity cannot distinguish the models.
std::string kl_text(const PairTest& test, const std::vector<std::string>& labels) {
  if (!test.kl_tells()) return "";
  if (test.b == 0) return "; KL says it differs";
  const int nearer = test.kl.delta < 0 ? test.a : test.b;
  return fmt::format("; KL says {} is nearer", labels[static_cast<size_t>(nearer)]);
}

}  // namespace

std::string pair_verdict(const Comparison& comparison, const PairTest& test,
                         const std::vector<std::string>& labels) {
  const double change = percent(test.difference.delta);
  const double reach = reach_of(test);
  const int digits = digits_of(reach);
  switch (test.verdict) {
    case Verdict::kWorse:
      return fmt::format("worse by {:.{}f} % ± {:.{}f}", change, digits, reach, digits);
    case Verdict::kBetter:
      return fmt::format("better by {:.{}f} % ± {:.{}f}", -change, digits, reach, digits);
    case Verdict::kTied:
      return fmt::format("tied within {:.3g} %", 100 * comparison.margin) + kl_text(test, labels);
    case Verdict::kWithinNoise:
      return "tied, within rounding";
    case Verdict::kTooFewRows:
      return few_rows_text(test) + kl_text(test, labels);
  }
  return "";
}

bool is_inverted(const Comparison& comparison, int a, int b) {
  return std::any_of(comparison.inversions.begin(), comparison.inversions.end(),
                     [&](const InversionReport& report) {
                       return std::minmax(report.better_by_mean, report.other) == std::minmax(a, b);
                     });
}

}  // namespace ram
