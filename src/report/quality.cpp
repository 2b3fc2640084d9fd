// Quality against size: divergence and perplexity, measured and predicted.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/plan.h"
#include "ram/size.h"

#include "html.h"
#include "sections.h"

namespace ram {
namespace {

std::string tip_of(const ReportModel& model) {
  std::string tip = fmt::format("{}\n{} bytes, {:.3f} bits per weight", model.label,
                                model.record.bytes, model.record.bits_per_weight);
  if (model.kl) {
    tip += fmt::format("\nKL {:.4g}", model.kl->delta);
    if (std::isfinite(model.kl->t95.low)) {
      tip += fmt::format(", 95 %: {:.4g} to {:.4g}", model.kl->t95.low, model.kl->t95.high);
    }
  }
  if (model.partial) tip += fmt::format("\non {} rows only", model.rows.size());
  if (!model.rows.empty()) {
    tip += fmt::format("\nperplexity {:.4f} (mean), {:.4f} (median)", model.summary.mean,
                       model.summary.median);
  }
  if (model.dominated) tip += "\ndominated: another is no larger and closer to the original";
  return tip;
}

/// The sweep that predicts `ours`, and the KL per unit of its loss: the geometric mean over the
/// folders of that method.
struct Prediction {
  const SweepRecord* sweep = nullptr;
  double scale = 0;
};

/// The limit of each point of a sweep that has one; sizes in MB.
std::vector<std::pair<double, double>> limits(const SweepRecord& sweep) {
  std::vector<std::pair<double, double>> points;
  for (const SweepRecord::Point& point : sweep.points) {
    if (!point.limit || *point.limit <= 0) continue;
    points.emplace_back(megabytes(static_cast<double>(point.total_bytes)), *point.limit);
  }
  return points;
}

/// The limit in nats per token: that of coefficients, whose losses are divergences.
std::vector<std::pair<double, double>> divergence_limits(const ReportData& data) {
  for (const SweepRecord& sweep : data.sweeps) {
    if (sweep.method == method_name(Method::kMeasured)) return limits(sweep);
  }
  return {};
}

Prediction predict(const ReportData& data) {
  for (const SweepRecord& sweep : data.sweeps) {
    double logs = 0;
    int count = 0;
    for (const ReportModel& model : data.models) {
      if (!model.kl || !model.plan || model.plan->method != sweep.method) continue;
      if (model.kl->delta <= 0 || model.plan->objective <= 0) continue;
      logs += std::log(model.kl->delta / model.plan->objective);
      ++count;
    }
    if (count > 0) return {&sweep, std::exp(logs / count)};
  }
  return {};
}

void guide_sizes(const ReportData& data, Plot& plot) {
  int64_t min_safe = 0;
  for (const ReportModel& model : data.models) {
    if (model.plan && model.series == Series::kOwn) min_safe = model.plan->min_safe_bytes;
  }
  if (min_safe > 0) plot.down(megabytes(static_cast<double>(min_safe)), "smallest safe size");
  for (const SweepRecord& sweep : data.sweeps) {
    if (sweep.method == method_name(Method::kPublished)) continue;
    plot.down(megabytes(static_cast<double>(sweep.knee_bytes)), "knee of the prediction");
    break;
  }
}

// Sizes of the folders, and of the guides.
std::vector<double> sizes(const ReportData& data, bool original) {
  std::vector<double> all;
  for (size_t m = original ? 0 : 1; m < data.models.size(); ++m) {
    all.push_back(megabytes(static_cast<double>(data.models[m].record.bytes)));
    if (data.models[m].plan && data.models[m].series == Series::kOwn) {
      all.push_back(megabytes(static_cast<double>(data.models[m].plan->min_safe_bytes)));
    }
  }
  return all;
}

std::vector<std::pair<Series, std::string>> legend_of(const ReportData& data, bool original) {
  std::vector<std::pair<Series, std::string>> entries;
  for (const Series series :
       {Series::kReference, Series::kOwn, Series::kUniform, Series::kPublished, Series::kOther}) {
    if (series == Series::kReference && !original) continue;
    const bool there = std::any_of(data.models.begin(), data.models.end(),
                                   [&](const auto& model) { return model.series == series; });
    if (there) entries.emplace_back(series, series_title(series));
  }
  return entries;
}

std::string divergence_plot(const ReportData& data) {
  std::vector<double> values;
  for (const ReportModel& model : data.models) {
    if (model.kl && model.kl->delta > 0) {
      values.push_back(model.kl->delta);
      if (!std::isfinite(model.kl->t95.low)) continue;  // a single row gives no interval
      values.push_back(std::max(model.kl->t95.low, model.kl->delta / 3));
      values.push_back(model.kl->t95.high);
    }
  }
  if (values.empty()) return "";
  const bool floor = data.noise_floor && *data.noise_floor > 0;
  if (floor) values.push_back(*data.noise_floor);
  const Axis x = axis_around("size of the folder, MB", sizes(data, false));
  std::vector<std::pair<double, double>> limit = divergence_limits(data);
  std::erase_if(limit, [&](const auto& at) { return at.first < x.low || at.first > x.high; });
  if (limit.size() < 2) limit.clear();
  for (const auto& [at, kl] : limit) values.push_back(kl);
  Plot plot("Divergence from the original against size", x,
            axis_around("KL divergence, nats per token", values, true));
  guide_sizes(data, plot);
  const Prediction prediction = predict(data);
  if (prediction.sweep != nullptr) {
    std::vector<std::pair<double, double>> points;
    for (const SweepRecord::Point& point : prediction.sweep->points) {
      const double at = megabytes(static_cast<double>(point.total_bytes));
      if (at < x.low || at > x.high || point.loss <= 0) continue;
      points.emplace_back(at, point.loss * prediction.scale);
    }
    if (points.size() > 1) {
      plot.line(points, "own dash",
                fmt::format("predicted loss ({}), times {:.3g} to fit the folders measured",
                            prediction.sweep->method, prediction.scale));
    }
  }
  if (!limit.empty()) {
    plot.line(limit, "reference dash",
              "limit of codes with independent errors, if weights are Gaussian");
  }
  if (floor) plot.across(*data.noise_floor, "noise floor: the original's own rounding to bf16");
  for (const ReportModel& model : data.models) {
    if (!model.kl || model.kl->delta <= 0) continue;
    PlotMark mark{.x = megabytes(static_cast<double>(model.record.bytes)),
                  .y = model.kl->delta,
                  .series = model.series,
                  .label = model.label,
                  .tip = tip_of(model),
                  .faded = model.dominated};
    if (std::isfinite(model.kl->t95.low)) mark.interval = {model.kl->t95.low, model.kl->t95.high};
    plot.mark(mark);
  }
  return plot.render(
      "Logarithmic; bars are 95 % intervals over rows. Faint: another folder is no larger and "
      "closer "
      "to the original." +
      std::string(prediction.sweep != nullptr ? " Dashed: what the plan predicted, scaled." : "") +
      (!limit.empty()
           ? " Dashed in the original's colour: the limit of codes with independent errors."
           : ""));
}

std::string perplexity_plot(const ReportData& data) {
  std::vector<double> values;
  for (const ReportModel& model : data.models) {
    if (model.rows.empty() || model.partial) continue;  // a mean over other rows: not comparable
    values.push_back(model.summary.mean);
    values.push_back(model.summary.median);
  }
  if (values.empty()) return "";
  const bool original = data.has_original && !data.models[0].rows.empty();
  std::vector<double> at = sizes(data, !original);
  if (at.empty()) at = sizes(data, true);
  Plot plot("Perplexity against size", axis_around("size of the folder, MB", at),
            axis_around("perplexity", values));
  if (original) {
    plot.across(data.models[0].summary.mean, "the original, mean");
    plot.across(data.models[0].summary.median, "median");
  }
  for (size_t m = original ? 1 : 0; m < data.models.size(); ++m) {
    const ReportModel& model = data.models[m];
    if (model.rows.empty() || model.partial) continue;
    PlotMark mark{.x = megabytes(static_cast<double>(model.record.bytes)),
                  .y = model.summary.median,
                  .series = model.series,
                  .tip = tip_of(model),
                  .hollow = true};
    plot.mark(mark);
    mark.hollow = false;
    mark.y = model.summary.mean;
    mark.label = model.label;
    if (model.difference && std::isfinite(model.difference->t95.low)) {
      const double reference = data.models[0].summary.mean;
      mark.interval = {reference * std::exp(model.difference->t95.low),
                       reference * std::exp(model.difference->t95.high)};
    }
    plot.mark(mark);
  }
  return plot.render(
      "Filled: mean, with the 95 % interval of its difference from the original. "
      "Hollow: median over rows.");
}

std::string models_table(const ReportData& data) {
  // The most important columns first: paper and narrow screens cut off the rest.
  HtmlTable table("models", {{"folder", false},
                             {"KL"},
                             {"KL from"},
                             {"KL to"},
                             {"same first choice"},
                             {"mean perplexity"},
                             {"change of mean, nats"},
                             {"95 % from"},
                             {"95 % to"},
                             {"bytes"},
                             {"bits per weight"},
                             {"method", false},
                             {"median perplexity"},
                             {"KL median"},
                             {"rows"}});
  for (const ReportModel& model : data.models) {
    const bool scored = !model.rows.empty();
    const auto of = [&](const std::optional<PairedDifference>& difference, auto member,
                        const char* format) {
      return difference ? Cell::formatted(format, member(*difference)) : Cell::text("");
    };
    const auto delta = [](const PairedDifference& d) { return d.delta; };
    const auto low = [](const PairedDifference& d) { return d.t95.low; };
    const auto high = [](const PairedDifference& d) { return d.t95.high; };
    table.add(
        {Cell::text(model.label), of(model.kl, delta, "{:.3g}"), of(model.kl, low, "{:.3g}"),
         of(model.kl, high, "{:.3g}"),
         model.kl ? Cell::number(fmt::format("{:.1f} %", 100 * model.same_top1), model.same_top1)
                  : Cell::text(""),
         scored ? Cell::formatted("{:.4f}", model.summary.mean) : Cell::text(""),
         of(model.difference, delta, "{:+.5f}"), of(model.difference, low, "{:+.5f}"),
         of(model.difference, high, "{:+.5f}"), Cell::integer(model.record.bytes),
         Cell::number(fmt::format("{:.3f}", model.record.bits_per_weight),
                      model.record.bits_per_weight),
         Cell::text(model.plan ? model.plan->method
                               : (model.series == Series::kReference ? "original" : "")),
         scored ? Cell::formatted("{:.4f}", model.summary.median) : Cell::text(""),
         model.kl ? Cell::formatted("{:.3g}", model.kl_median) : Cell::text(""),
         scored ? Cell::integer(std::ssize(model.rows)) : Cell::text("")},
        model.dominated);
  }
  return table.empty() ? "" : table.render();
}

std::string sweep_part(const ReportData& data) {
  std::string html;
  for (const SweepRecord& sweep : data.sweeps) {
    std::vector<double> x;
    std::vector<double> y;
    std::vector<std::pair<double, double>> points;
    HtmlTable table("sweep-" + sweep.method, {{"bytes"}, {"bits per weight"}, {"loss"}, {"limit"}});
    for (const SweepRecord::Point& point : sweep.points) {
      table.add({Cell::integer(point.total_bytes),
                 Cell::number(fmt::format("{:.3f}", point.bits_per_weight), point.bits_per_weight),
                 Cell::number(fmt::format("{:.4g}", point.loss), point.loss),
                 point.limit ? Cell::formatted("{:.4g}", *point.limit) : Cell::text("")});
      if (point.loss <= 0) continue;
      x.push_back(megabytes(static_cast<double>(point.total_bytes)));
      y.push_back(point.loss);
      points.emplace_back(x.back(), point.loss);
    }
    if (points.size() < 2) continue;
    std::vector<std::pair<double, double>> limit = limits(sweep);
    if (limit.size() < 2) limit.clear();
    for (const auto& [at, loss] : limit) y.push_back(loss);
    Plot plot(fmt::format("Predicted loss against size ({})", sweep.method),
              axis_around("size of the folder, MB", x), axis_around("predicted loss", y, true));
    plot.down(megabytes(static_cast<double>(sweep.points.front().total_bytes)),
              "smallest safe size");
    plot.down(megabytes(static_cast<double>(sweep.knee_bytes)), "knee");
    plot.line(points, "own");
    if (!limit.empty()) {
      plot.line(limit, "reference dash",
                "limit of codes with independent errors, if weights are Gaussian");
    }
    html += plot.render(
                "Logarithmic. Beyond the knee a further byte buys less than the average byte "
                "of this range." +
                std::string(!limit.empty() ? " Dashed: the limit of codes with independent errors."
                                           : "")) +
            "<details><summary>numbers</summary>" + table.render() + "</details>\n";
  }
  return html;
}

}  // namespace

std::string quality_section(const ReportData& data) {
  std::string body;
  const std::string divergence = divergence_plot(data);
  const std::string perplexity = perplexity_plot(data);
  if (divergence.empty() && perplexity.empty()) {
    body += missing_data("No folder was scored on a text. Run",
                         command_of(data, "ram compare ORIGINAL FOLDER... --text FILE"));
  } else {
    body += "<div class=\"grid\">" + divergence + perplexity + "</div>\n";
    body += legend(legend_of(data, false));
    if (divergence.empty()) {
      body += missing_data("Nothing was compared with an original. Run",
                           command_of(data, "ram compare ORIGINAL FOLDER... --text FILE"));
    }
  }
  body += models_table(data);
  const std::string sweep = sweep_part(data);
  body += sweep.empty() ? missing_data("The predicted curve and its knee are not in the study. Run",
                                       command_of(data, "ram sweep ORIGINAL"))
                        : "<h3>What the plans predict</h3>\n" + sweep;
  return section("quality", "Quality against size", body);
}

}  // namespace ram
