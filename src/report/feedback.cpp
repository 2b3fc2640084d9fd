// Divergence with error feedback relative to plain rounding, for the same formats.
#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "html.h"
#include "plot.h"
#include "sections.h"

namespace ram {
namespace {

using Variant = FeedbackRecord::Variant;

/// NaN if there is only one row, and so no interval.
Interval ends_of(const FeedbackRecord::Ratio& ratio) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  return ratio.ci95.value_or(Interval{kNone, kNone});
}

/// " (0.2 to 0.3)", or empty.
std::string in_brackets(const char* format, const Interval& interval) {
  if (!std::isfinite(interval.low)) return "";
  return fmt::format(fmt::runtime(format), interval.low, interval.high);
}

std::string what_of(const Variant& variant) {
  if (variant.text.empty()) return "plain rounding";
  return variant.text == "own" ? "feedback on its own text" : "feedback on real text";
}

Series series_of_variant(const Variant& variant) {
  return variant.formats == "plan" ? Series::kOwn : Series::kUniform;
}

std::string feedback_plot(const std::vector<Variant>& variants) {
  std::vector<double> sizes;
  std::vector<double> values;
  for (const Variant& variant : variants) {
    sizes.push_back(megabytes(static_cast<double>(variant.bytes)));
    for (const double value : {variant.kl, variant.kl95.low, variant.kl95.high}) {
      if (value > 0) values.push_back(value);
    }
  }
  if (values.empty()) return "";
  // The plan has the same bytes as one of the others: its mark is moved aside so that both are
  // visible.
  const auto [least, most] = std::minmax_element(sizes.begin(), sizes.end());
  const double aside = 0.03 * (*most - *least);
  for (size_t i = 0; i < variants.size(); ++i) {
    if (variants[i].formats == "plan") sizes[i] += aside;
  }
  Plot plot("The same formats, plain and with feedback",
            axis_around("size of the folder, MB", sizes),
            axis_around("KL from the original, nats per token", values, /*logarithmic=*/true));
  std::string formats;
  std::vector<std::pair<double, double>> line;
  const auto end_line = [&] {
    if (line.size() > 1) plot.line(line, formats == "plan" ? "own dash" : "uniform dash");
    line.clear();
  };
  for (size_t i = 0; i < variants.size(); ++i) {
    const Variant& variant = variants[i];
    if (variant.formats != formats) end_line();
    formats = variant.formats;
    if (variant.kl <= 0) continue;
    line.emplace_back(sizes[i], variant.kl);
    std::string tip = fmt::format("{}, {}\n{} bytes\nKL {:.4g}", variant.formats, what_of(variant),
                                  variant.bytes, variant.kl);
    tip += in_brackets(" ({:.4g} to {:.4g})", variant.kl95);
    if (variant.over_plain) {
      tip += fmt::format("\n{:.2f}{} of plain rounding's", variant.over_plain->value,
                         in_brackets(" ({:.2f} to {:.2f})", ends_of(*variant.over_plain)));
    }
    PlotMark mark{.x = sizes[i],
                  .y = variant.kl,
                  .series = series_of_variant(variant),
                  .label = variant.text.empty() ? variant.formats : "",
                  .tip = tip,
                  .hollow = variant.text.empty(),
                  .small = variant.text == "real"};
    if (variant.kl95.low > 0) mark.interval = {variant.kl95.low, variant.kl95.high};
    plot.mark(mark);
  }
  end_line();
  return plot.render(
      "Logarithmic; bars are 95 % intervals over rows. Hollow: plain rounding. Filled: error "
      "feedback (GPTQ) on text that the model wrote; small: on real text. Dashed lines join "
      "folders "
      "of the same formats; the plan has the bytes of 4:64 and is drawn slightly to its right.");
}

std::string feedback_table(const std::vector<Variant>& variants) {
  HtmlTable table("feedback", {{"formats", false},
                               {"what", false},
                               {"bytes"},
                               {"KL"},
                               {"KL from"},
                               {"KL to"},
                               {"of plain rounding's"},
                               {"from"},
                               {"to"}});
  for (const Variant& one : variants) {
    const auto ratio = [&](double value) {
      return one.over_plain ? Cell::formatted("{:.3f}", value) : Cell::text("");
    };
    const FeedbackRecord::Ratio over = one.over_plain.value_or(FeedbackRecord::Ratio{});
    const auto [low, high] = ends_of(over);
    table.add({Cell::text(one.formats), Cell::text(what_of(one)), Cell::integer(one.bytes),
               Cell::formatted("{:.3g}", one.kl), Cell::formatted("{:.3g}", one.kl95.low),
               Cell::formatted("{:.3g}", one.kl95.high), ratio(over.value), ratio(low),
               ratio(high)});
  }
  return table.render();
}

}  // namespace

std::string feedback_section(const ReportData& data) {
  if (!data.feedback) return "";
  const std::vector<Variant>& variants = data.feedback->variants;
  std::string html;
  for (const Variant& one : variants) {
    if (one.formats != "plan" || !one.over_plain) continue;
    html += paragraph(fmt::format(
        "With the plan's formats, {} leaves {:.2f}{} of the divergence of plain rounding.",
        what_of(one), one.over_plain->value,
        in_brackets(" ({:.2f} to {:.2f})", ends_of(*one.over_plain))));
  }
  html += feedback_plot(variants);
  html += legend({{Series::kUniform, "uniform formats"}, {Series::kOwn, "one plan"}});
  return section("feedback", "What calibration buys, and what the plan",
                 html + feedback_table(variants));
}

}  // namespace ram
