// Perplexity over rows, percentiles, and rows whose removal reverses a ranking.
#include <algorithm>
#include <cmath>
#include <numeric>

#include "ram/error.h"
#include "ram/statistics.h"

namespace ram {
namespace {

constexpr double kTrimmedShare = 0.05;
constexpr size_t kWorstRows = 5;

using Positions = std::vector<int64_t>;

double row_loss(const Losses& losses, int64_t position) {
  const auto i = static_cast<size_t>(position);
  return losses.nll_sums[i] / static_cast<double>(losses.tokens[i]);
}

// exp(mean loss per token) over some rows.
double mean_perplexity(const Losses& losses, std::span<const int64_t> positions) {
  double sum = 0;
  int64_t tokens = 0;
  for (const int64_t position : positions) {
    sum += losses.nll_sums[static_cast<size_t>(position)];
    tokens += losses.tokens[static_cast<size_t>(position)];
  }
  return std::exp(sum / static_cast<double>(tokens));
}

double median_perplexity(const Losses& losses, std::span<const int64_t> positions) {
  std::vector<double> values;
  values.reserve(positions.size());
  for (const int64_t position : positions) values.push_back(std::exp(row_loss(losses, position)));
  std::sort(values.begin(), values.end());
  return percentile(values, 50);
}

Positions all_positions(size_t count) {
  Positions positions(count);
  std::iota(positions.begin(), positions.end(), 0);
  return positions;
}

// How much less a loses than b in one row, nats.
double gain_of(const Losses& a, const Losses& b, int64_t position) {
  const auto i = static_cast<size_t>(position);
  return b.nll_sums[i] - a.nll_sums[i];
}

double total_gain(const Losses& a, const Losses& b) {
  double gain = 0;
  for (const int64_t i : all_positions(a.tokens.size())) gain += gain_of(a, b, i);
  return gain;
}

// Rows by a's gain over b, the largest first; equal gains in the order of the rows.
Positions by_gain(const Losses& a, const Losses& b) {
  Positions order = all_positions(a.tokens.size());
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t x, int64_t y) { return gain_of(a, b, x) > gain_of(a, b, y); });
  return order;
}

// Fills in the means without the first `removed` rows of `order`.
void fill_rest(Inversion& inversion, const Losses& a, const Losses& b, const Positions& order,
               size_t removed) {
  const std::span<const int64_t> rest = std::span(order).subspan(removed);
  inversion.rows.assign(order.begin(), order.begin() + static_cast<int64_t>(removed));
  inversion.mean_a_without = mean_perplexity(a, rest);
  inversion.mean_b_without = mean_perplexity(b, rest);
  inversion.median_a_without = median_perplexity(a, rest);
  inversion.median_b_without = median_perplexity(b, rest);
}

}  // namespace

double percentile(std::span<const double> sorted, double percent) {
  RAM_CHECK(!sorted.empty() && percent >= 0 && percent <= 100);
  const double place = percent / 100 * static_cast<double>(sorted.size() - 1);
  const auto below = static_cast<size_t>(std::floor(place));
  if (below + 1 >= sorted.size()) return sorted.back();
  const double share = place - static_cast<double>(below);
  if (std::isinf(sorted[below]) || std::isinf(sorted[below + 1])) {
    if (share == 0 || sorted[below] == sorted[below + 1]) return sorted[below];
    const bool both = std::isinf(sorted[below]) && std::isinf(sorted[below + 1]);
    const bool first = both ? share < 0.5 : std::isinf(sorted[below]);
    return first ? sorted[below] : sorted[below + 1];
  }
  const double step = sorted[below + 1] - sorted[below];
  // numpy interpolates from the nearer end, which keeps the ends exact.
  return share < 0.5 ? sorted[below] + step * share : sorted[below + 1] - step * (1 - share);
}

PerplexitySummary summarize_perplexity(const Losses& losses) {
  const size_t count = losses.nll_sums.size();
  RAM_CHECK(count > 0 && losses.tokens.size() == count);
  PerplexitySummary summary;
  const Positions all = all_positions(count);
  summary.mean = mean_perplexity(losses, all);
  summary.median = median_perplexity(losses, all);
  for (const int64_t position : all) {
    if (std::exp(row_loss(losses, position)) > kOutlierPerplexity) {
      summary.outliers.push_back(position);
    }
  }
  Positions order = all;  // by loss, the worst first
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return row_loss(losses, a) > row_loss(losses, b); });
  const std::span<const int64_t> ordered(order);
  if (count >= 3) {
    const auto share = static_cast<int64_t>(kTrimmedShare * static_cast<double>(count));
    summary.trimmed_rows = std::max<int64_t>(1, share);
    const auto dropped = static_cast<size_t>(summary.trimmed_rows);
    summary.trimmed = mean_perplexity(losses, ordered.subspan(dropped, count - 2 * dropped));
  }
  const size_t worst = std::min(count, kWorstRows);
  summary.worst.assign(order.begin(), order.begin() + static_cast<int64_t>(worst));
  if (worst < count) {
    summary.mean_without_worst = mean_perplexity(losses, ordered.subspan(worst));
    summary.median_without_worst = median_perplexity(losses, ordered.subspan(worst));
  }
  return summary;
}

std::optional<Inversion> find_inversion(const Losses& a, const Losses& b) {
  const Positions all = all_positions(a.tokens.size());
  const double mean_a = mean_perplexity(a, all);
  const double mean_b = mean_perplexity(b, all);
  const double median_a = median_perplexity(a, all);
  const double median_b = median_perplexity(b, all);
  if (mean_a == mean_b || median_a == median_b) return std::nullopt;
  Inversion inversion;
  inversion.a_better_by_mean = mean_a < mean_b;
  inversion.a_better_by_median = median_a < median_b;
  if (inversion.a_better_by_mean == inversion.a_better_by_median) return std::nullopt;
  // The sum of the gains decides the mean, so removing the largest first removes the fewest.
  const Losses& better = inversion.a_better_by_mean ? a : b;
  const Losses& worse = inversion.a_better_by_mean ? b : a;
  const Positions order = by_gain(better, worse);
  double gain = total_gain(better, worse);
  for (size_t removed = 1; removed < order.size(); ++removed) {
    gain -= gain_of(better, worse, order[removed - 1]);
    if (gain >= 0) continue;
    fill_rest(inversion, a, b, order, removed);
    const bool a_by_mean = inversion.mean_a_without < inversion.mean_b_without;
    const bool a_by_median = inversion.median_a_without < inversion.median_b_without;
    if (a_by_mean == a_by_median) return inversion;
  }
  fill_rest(inversion, a, b, order, 0);
  return inversion;
}

std::optional<Inversion> explain_better_mean(const Losses& a, const Losses& b) {
  const Positions all = all_positions(a.tokens.size());
  if (!(mean_perplexity(a, all) < mean_perplexity(b, all))) return std::nullopt;
  Inversion inversion;
  inversion.a_better_by_mean = true;
  inversion.a_better_by_median = median_perplexity(a, all) < median_perplexity(b, all);
  const Positions order = by_gain(a, b);
  double gain = total_gain(a, b);
  for (size_t removed = 1; removed < order.size(); ++removed) {
    gain -= gain_of(a, b, order[removed - 1]);
    if (gain > 0) continue;
    fill_rest(inversion, a, b, order, removed);
    return inversion;
  }
  fill_rest(inversion, a, b, order, 0);
  return inversion;
}

}  // namespace ram
