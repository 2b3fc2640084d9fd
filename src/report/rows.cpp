// Mean against median, and the rows that cause the difference.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "html.h"
#include "sections.h"

namespace ram {
namespace {

struct Columns {
  std::vector<double> sums;
  std::vector<int64_t> tokens;
  Losses losses() const { return {sums, tokens}; }
  void add(const RowScore& row) {
    sums.push_back(row.nll_sum);
    tokens.push_back(row.tokens);
  }
};

/// The rows that two models were both scored on.
struct Shared {
  Columns one;
  Columns other;
  std::vector<int64_t> rows;
};

Shared shared_rows(const ReportModel& one, const ReportModel& other) {
  Shared shared;
  for (const RowScore& row : one.rows) {
    const RowScore* const second = find_row(other, row.row);
    if (second == nullptr) continue;
    shared.rows.push_back(row.row);
    shared.one.add(row);
    shared.other.add(*second);
  }
  return shared;
}

double per_token(const RowScore& row) {
  return row.nll_sum / static_cast<double>(row.tokens);
}

// @param positions indices into `rows`.
std::string row_list(const std::vector<int64_t>& rows, const std::vector<int64_t>& positions) {
  constexpr size_t kMost = 6;
  std::string text;
  for (size_t i = 0; i < std::min(kMost, positions.size()); ++i) {
    text += fmt::format("{}{}", i > 0 ? ", " : "", rows[static_cast<size_t>(positions[i])]);
  }
  return text + (positions.size() > kMost ? ", ..." : "");
}

// The result of the row-by-row test, independent of the means.
std::string row_by_row(const ReportModel& one, const ReportModel& other, const Shared& shared) {
  std::vector<double> differences;
  for (size_t i = 0; i < shared.rows.size(); ++i) {
    differences.push_back((shared.one.sums[i] - shared.other.sums[i]) /
                          static_cast<double>(shared.one.tokens[i]));
  }
  const RankTest ranks = wilcoxon_test(differences);
  if (ranks.p >= kLevel) return fmt::format("no difference beyond chance (p = {:.2g})", ranks.p);
  return fmt::format("{} is better (p = {:.2g})", ranks.sign < 0 ? one.label : other.label,
                     ranks.p);
}

std::string inversions(const ReportData& data) {
  std::string html;
  HtmlTable table("inversions", {{"better by the mean", false},
                                 {"better by the median", false},
                                 {"rows that do it"},
                                 {"mean without them, first"},
                                 {"second"},
                                 {"row by row", false},
                                 {"the rows", false}});
  for (size_t a = 0; a < data.models.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      const ReportModel& one = data.models[a];
      const ReportModel& other = data.models[b];
      const Shared shared = shared_rows(one, other);
      if (shared.rows.empty()) continue;
      const std::optional<Inversion> found =
          find_inversion(shared.one.losses(), shared.other.losses());
      if (found) {
        const bool mean_a = found->a_better_by_mean;
        const double first = mean_a ? found->mean_a_without : found->mean_b_without;
        const double second = mean_a ? found->mean_b_without : found->mean_a_without;
        table.add({Cell::text(mean_a ? one.label : other.label),
                   Cell::text(found->a_better_by_median ? one.label : other.label),
                   Cell::integer(std::ssize(found->rows)),
                   Cell::number(fmt::format("{:.4f}", first), first),
                   Cell::number(fmt::format("{:.4f}", second), second),
                   Cell::text(row_by_row(one, other, shared)),
                   Cell::text(row_list(shared.rows, found->rows))});
      } else if (b == 0 && one.difference && one.difference->delta < 0) {
        html +=
            paragraph(fmt::format("{} has a lower mean perplexity than its original. That is no "
                                  "sign of quality: compare divergences.",
                                  one.label),
                      "warning");
      }
    }
  }
  if (table.empty() && html.empty()) {
    return paragraph("Mean and median rank all folders alike.", "soft");
  }
  if (table.empty()) return html;
  return html +
         paragraph(
             "Mean and median rank some pairs in opposite ways. Few rows cause that: without them "
             "the two agree. If the row-by-row test finds a difference, trust it.",
             "warning") +
         table.render();
}

// The folders with the least, the middle and the largest divergence.
std::vector<const ReportModel*> shown_models(const ReportData& data) {
  std::vector<const ReportModel*> scored;
  for (size_t m = 1; m < data.models.size(); ++m) {
    if (data.models[m].difference) scored.push_back(&data.models[m]);
  }
  std::stable_sort(scored.begin(), scored.end(), [](const auto* a, const auto* b) {
    return a->difference->delta < b->difference->delta;
  });
  if (scored.size() <= 3) return scored;
  return {scored.front(), scored[scored.size() / 2], scored.back()};
}

std::string scatter(const ReportData& data, const ReportModel& model) {
  const ReportModel& original = data.models.front();
  std::vector<double> x;
  std::vector<double> y = {0};
  for (const RowScore& row : model.rows) {
    x.push_back(per_token(*find_row(original, row.row)));
    y.push_back(per_token(row) - x.back());
  }
  Plot plot(fmt::format("Row by row: {}", model.label),
            axis_around("loss of the original, nats per token", x),
            axis_around("more than the original, nats per token", y));
  plot.across(0, "as the original");
  for (size_t i = 0; i < x.size(); ++i) {
    plot.mark({.x = x[i],
               .y = y[i + 1],
               .series = model.series,
               .tip = fmt::format("row {}\noriginal {:.4f}\n{} {:.4f}", model.rows[i].row, x[i],
                                  model.label, x[i] + y[i + 1]),
               .small = true});
  }
  return plot.render("One mark per row of the text; above the line the row is predicted worse.");
}

std::string rows_table(const ReportData& data) {
  std::vector<HtmlColumn> heads = {{"row"}, {"tokens"}};
  for (const ReportModel& model : data.models) {
    if (!model.rows.empty()) heads.push_back({model.label + ", nats"});
  }
  HtmlTable table("rows", heads);
  for (const int64_t row : data.rows) {
    std::vector<Cell> cells = {Cell::integer(row), Cell::text("")};
    for (const ReportModel& model : data.models) {
      if (model.rows.empty()) continue;
      const RowScore* const score = find_row(model, row);
      if (score != nullptr) cells[1] = Cell::integer(score->tokens);
      cells.push_back(score == nullptr
                          ? Cell::text("")
                          : Cell::number(fmt::format("{:.2f}", score->nll_sum), score->nll_sum));
    }
    table.add(std::move(cells));
  }
  return "<details><summary>all rows</summary>" + table.render() + "</details>\n";
}

std::string summary_table(const ReportData& data) {
  HtmlTable table("mean-and-median", {{"folder", false},
                                      {"mean"},
                                      {"median"},
                                      {"trimmed"},
                                      {"mean without the worst five"},
                                      {"rows above 100"},
                                      {"worst rows", false}});
  for (const ReportModel& model : data.models) {
    if (model.rows.empty()) continue;
    const PerplexitySummary& summary = model.summary;
    const auto optional = [](const std::optional<double>& value) {
      return value ? Cell::number(fmt::format("{:.4f}", *value), *value) : Cell::text("");
    };
    table.add({Cell::text(model.label),
               Cell::number(fmt::format("{:.4f}", summary.mean), summary.mean),
               Cell::number(fmt::format("{:.4f}", summary.median), summary.median),
               optional(summary.trimmed), optional(summary.mean_without_worst),
               Cell::integer(std::ssize(summary.outliers)),
               Cell::text(row_list(indices_of(model), summary.worst))});
  }
  return table.render();
}

}  // namespace

std::string rows_section(const ReportData& data) {
  if (data.rows.empty()) {
    return section("rows", "Mean, median and single rows",
                   missing_data("No text was scored. Run",
                                command_of(data, "ram compare ORIGINAL FOLDER... --text FILE")));
  }
  std::string plots;
  if (data.has_original && !data.models[0].rows.empty()) {
    for (const ReportModel* model : shown_models(data)) plots += scatter(data, *model);
  }
  return section("rows", "Mean, median and single rows",
                 inversions(data) + summary_table(data) + "<div class=\"grid\">" + plots +
                     "</div>\n" + rows_table(data));
}

}  // namespace ram
