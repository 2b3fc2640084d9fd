// Predicted losses compared with measured losses of folders of these sizes.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "html.h"
#include "plot.h"
#include "sections.h"

namespace ram {
namespace {

using Point = MeasuredSweepRecord::Point;
using Line = std::vector<std::pair<double, double>>;

/// The method's points whose loss and KL are positive, as a logarithmic axis requires.
std::vector<Point> predicted(const MeasuredSweepRecord& sweep) {
  std::vector<Point> points;
  for (const Point& point : sweep.points) {
    if (point.loss && *point.loss > 0 && point.kl > 0) points.push_back(point);
  }
  return points;
}

/// A function over the range of a logarithmic axis.
template <typename Function>
Line curve(const Axis& axis, const Function& function) {
  constexpr int kSteps = 48;
  Line line;
  for (int i = 0; i <= kSteps; ++i) {
    const double x = axis.low * std::pow(axis.high / axis.low, static_cast<double>(i) / kSteps);
    line.emplace_back(x, function(x));
  }
  return line;
}

std::string tip_of(const Point& point) {
  std::string tip = fmt::format("{}\n{} bytes\nKL {:.4g}, mean perplexity {:.5g}", point.folder,
                                point.bytes, point.kl, point.mean);
  if (point.loss) tip += fmt::format("\npredicted loss {:.4g}", *point.loss);
  return tip;
}

std::string sweep_divergence_plot(const MeasuredSweepRecord& sweep,
                                  const std::vector<Point>& points) {
  std::vector<double> x;
  std::vector<double> y;
  for (const Point& point : points) {
    x.push_back(*point.loss);
    y.insert(y.end(), {point.kl, sweep.kl_per_loss * *point.loss});
  }
  const Axis losses = axis_around("predicted loss", x, /*logarithmic=*/true);
  const Axis divergences = axis_around("KL, nats per token", y, /*logarithmic=*/true);
  Plot plot("Divergence, predicted and measured", losses, divergences);
  // The line ends where it leaves the plot.
  Line line = curve(losses, [&](double loss) { return sweep.kl_per_loss * loss; });
  std::erase_if(line, [&](const auto& at) {
    return at.second < divergences.low || at.second > divergences.high;
  });
  if (line.size() > 1) {
    plot.line(line, "own dash", fmt::format("KL = {:.3g} x loss", sweep.kl_per_loss));
  }
  for (const Point& point : points) {
    plot.mark({.x = *point.loss, .y = point.kl, .tip = tip_of(point)});
  }
  return plot.render(fmt::format(
      "Both logarithmic. Dashed: KL = {:.3g} x loss, which holds within a factor of {:.2f} (one "
      "standard deviation).",
      sweep.kl_per_loss, std::exp(sweep.kl_rms_log)));
}

std::string sweep_perplexity_plot(const MeasuredSweepRecord& sweep,
                                  const std::vector<Point>& points) {
  const auto fit = [&](double loss) { return sweep.a + sweep.b * std::log1p(loss); };
  std::vector<double> x;
  std::vector<double> y;
  for (const Point& point : points) {
    x.push_back(*point.loss);
    y.push_back(point.mean);
  }
  const Axis losses = axis_around("predicted loss", x, /*logarithmic=*/true);
  y.insert(y.end(), {fit(losses.low), fit(losses.high)});
  Plot plot("Mean perplexity, the published fit", losses, axis_around("mean perplexity", y));
  plot.line(curve(losses, fit), "published dash",
            fmt::format("{:.5g} + {:.4g} ln(1 + loss)", sweep.a, sweep.b));
  for (const Point& point : points) {
    plot.mark({.x = *point.loss, .y = point.mean, .tip = tip_of(point)});
  }
  return plot.render(fmt::format(
      "Dashed: {:.5g} + {:.4g} ln(1 + loss), with residuals of {:.2g} (root mean square).", sweep.a,
      sweep.b, sweep.rms));
}

/// The KL saved by each step from one size to the next.
std::string steps_plot(const MeasuredSweepRecord& sweep, const std::vector<Point>& points) {
  std::vector<double> sizes;
  std::vector<double> saved;
  std::vector<PlotMark> marks;
  for (size_t i = 1; i < points.size(); ++i) {
    const double from = megabytes(static_cast<double>(points[i - 1].bytes));
    const double to = megabytes(static_cast<double>(points[i].bytes));
    if (to <= from) continue;
    const double gain = (points[i - 1].kl - points[i].kl) / (to - from);
    if (gain <= 0) continue;
    sizes.push_back((from + to) / 2);
    saved.push_back(gain);
    marks.push_back({.x = sizes.back(),
                     .y = gain,
                     .tip = fmt::format("from {} to {}\nsaves {:.3g} KL per MB",
                                        points[i - 1].folder, points[i].folder, gain)});
  }
  if (marks.empty()) return "";
  if (sweep.average > 0) saved.push_back(sweep.average);
  Plot plot("What a further megabyte buys", axis_around("size of the folder, MB", sizes),
            axis_around("KL saved per MB", saved, /*logarithmic=*/true));
  if (sweep.average > 0) plot.across(sweep.average, "the average of all sizes");
  Line line;
  for (const PlotMark& mark : marks) {
    line.emplace_back(mark.x, mark.y);
    plot.mark(mark);
  }
  if (line.size() > 1) plot.line(line, "own");
  return plot.render(fmt::format(
      "Logarithmic; between each two sizes. The first step above the smallest saves {:.3g} per MB, "
      "the average one {:.3g}. Steps that save nothing are left out.",
      sweep.first_step, sweep.average));
}

std::string points_table(const MeasuredSweepRecord& sweep) {
  HtmlTable table("measured-" + sweep.method, {{"folder", false},
                                               {"bytes"},
                                               {"predicted loss"},
                                               {"KL"},
                                               {"KL by loss"},
                                               {"mean perplexity"},
                                               {"by the fit"}});
  for (const Point& point : sweep.points) {
    const auto by_loss = [&](const char* format, double value) {
      return point.loss ? Cell::formatted(format, value) : Cell::text("");
    };
    const double loss = point.loss.value_or(0);
    table.add({Cell::text(point.folder), Cell::integer(point.bytes), by_loss("{:.3g}", loss),
               Cell::formatted("{:.3g}", point.kl), by_loss("{:.3g}", sweep.kl_per_loss * loss),
               Cell::formatted("{:.4f}", point.mean),
               by_loss("{:.4f}", sweep.a + sweep.b * std::log1p(loss))});
  }
  return table.render();
}

}  // namespace

std::string measured_section(const ReportData& data) {
  std::string html;
  for (const MeasuredSweepRecord& sweep : data.measured_sweeps) {
    const std::vector<Point> points = predicted(sweep);
    if (data.measured_sweeps.size() > 1) html += paragraph("Method: " + sweep.method, "sub");
    if (points.size() > 1) {
      html += "<div class=\"grid\">" + sweep_divergence_plot(sweep, points) +
              sweep_perplexity_plot(sweep, points) + steps_plot(sweep, points) + "</div>\n";
    }
    html += points_table(sweep);
  }
  return html.empty() ? "" : section("measured", "The curve, measured", html);
}

}  // namespace ram
