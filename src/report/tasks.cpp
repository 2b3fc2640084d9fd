// Questions: accuracies, flips, and what such a benchmark can distinguish.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/size.h"
#include "ram/text.h"

#include "html.h"
#include "sections.h"

namespace ram {
namespace {

double points(double share) {
  return 100 * share;
}

const ReportModel& model_at(const ReportData& data, const ReportTask& task, int position) {
  return data.models[task.models[static_cast<size_t>(position)]];
}

std::string verdict_of(const ReportData& data, const ReportTask& task) {
  if (!task.verdict) return "";
  return paragraph("Verdict: " + ladder_text(data, task) + ".");
}

// Right answers, with the 95 % interval.
std::string accuracy_text(const AnswerSummary& summary) {
  return fmt::format("{} of {} right: {:.2f} %, 95 %: {:.2f} to {:.2f}", summary.right,
                     summary.questions, points(summary.accuracy), points(summary.ci95.low),
                     points(summary.ci95.high));
}

std::string accuracy_plot(const ReportData& data, const ReportTask& task) {
  std::vector<double> x;
  std::vector<double> y;
  for (size_t i = 0; i < task.models.size(); ++i) {
    const AnswerSummary& summary = task.summaries[i];
    x.push_back(data.models[task.models[i]].record.bits_per_weight);
    y.push_back(points(summary.ci95.low));
    y.push_back(points(summary.ci95.high));
  }
  Axis right = axis_around("right answers, %", y);
  right.low = std::max(0.0, right.low);  // a share cannot exceed these
  right.high = std::min(100.0, right.high);
  Plot plot(fmt::format("{}: accuracy against bits", task.record.key.task),
            axis_around("bits per weight", x), right);
  // The detectable difference, around the original. A model that answered only a few questions has
  // a larger one, which says nothing about the others.
  double detectable = 0;
  for (const AnswerPair& pair : task.pairs) {
    if (pair.b != 0 || pair.questions != task.asked) continue;
    detectable = std::max(detectable, pair.detectable);
  }
  if (detectable > 0) {
    const double middle = task.summaries[0].accuracy;
    plot.band(points(std::max(0.0, middle - detectable)),
              points(std::min(1.0, middle + detectable)),
              fmt::format("differences from {} below {:.2f} points are hardly detectable",
                          data.models[task.models[0]].label, points(detectable)));
  }
  for (size_t i = 0; i < task.models.size(); ++i) {
    const ReportModel& model = data.models[task.models[i]];
    const AnswerSummary& summary = task.summaries[i];
    plot.mark({.x = model.record.bits_per_weight,
               .y = points(summary.accuracy),
               .series = model.series,
               .label = model.label,
               .tip = model.label + "\n" + accuracy_text(summary),
               .interval = std::pair(points(summary.ci95.low), points(summary.ci95.high))});
  }
  return plot.render(
      "Bars are 95 % intervals of each single accuracy; the grey band shows differences that this "
      "benchmark hardly detects.");
}

// For each folder, two bars on the two sides of a middle line.
std::string flips_plot(const ReportData& data, const ReportTask& task) {
  std::vector<const AnswerPair*> pairs;
  int64_t most = 1;
  for (const AnswerPair& pair : task.pairs) {
    if (pair.b != 0) continue;
    pairs.push_back(&pair);
    most = std::max({most, pair.flips.gained, pair.flips.lost});
  }
  if (pairs.empty()) return "";
  constexpr double kMiddle = 300;
  constexpr double kHalf = 130;
  constexpr double kRow = 26;
  std::string svg = fmt::format(
      "<text class=\"tick\" text-anchor=\"end\" x=\"{:.0f}\" y=\"12\">lost</text><text "
      "class=\"tick\" x=\"{:.0f}\" y=\"12\">gained</text>",
      kMiddle - 6, kMiddle + 6);
  double y = 20;
  for (const AnswerPair* pair : pairs) {
    const ReportModel& model = model_at(data, task, pair->a);
    const double lost = kHalf * static_cast<double>(pair->flips.lost) / static_cast<double>(most);
    const double gained =
        kHalf * static_cast<double>(pair->flips.gained) / static_cast<double>(most);
    const std::string tip =
        fmt::format("{0}: {1} questions that only {2} answered, {3} that only {0} did", model.label,
                    pair->flips.lost, data.models[task.models[0]].label, pair->flips.gained);
    const std::string label = printable(model.label, 20);
    svg += fmt::format(
        "<g class=\"{0}\" data-tip=\"{1}\"><title>{1}</title><text x=\"0\" y=\"{2:.0f}\">{3}</text>"
        "<rect class=\"fill faded\" x=\"{4:.1f}\" y=\"{5:.0f}\" width=\"{6:.1f}\" height=\"16\"/>"
        "<rect class=\"fill\" x=\"{7:.1f}\" y=\"{5:.0f}\" width=\"{8:.1f}\" height=\"16\"/>"
        "<text text-anchor=\"end\" x=\"{9:.1f}\" y=\"{2:.0f}\">{10}</text>"
        "<text x=\"{11:.1f}\" y=\"{2:.0f}\">{12}</text></g>\n",
        series_class(model.series), escape_html(tip), y + 12, escape_html(label), kMiddle - lost, y,
        lost, kMiddle, gained, kMiddle - lost - 4, pair->flips.lost, kMiddle + gained + 4,
        pair->flips.gained);
    y += kRow;
  }
  svg += fmt::format("<path class=\"axis\" d=\"M{0:.0f} 16V{1:.0f}\"/>", kMiddle, y - 4);
  return fmt::format(
      "<figure><svg viewBox=\"0 0 480 {:.0f}\" role=\"img\" aria-label=\"questions that "
      "flipped\">\n"
      "{}</svg><figcaption><b>{}: answers that flipped</b> against {}.</figcaption></figure>\n",
      y + 4, svg, escape_html(task.record.key.task),
      escape_html(data.models[task.models[0]].label));
}

std::string accuracy_table(const ReportData& data, const ReportTask& task) {
  HtmlTable table("task-" + task.record.key.task, {{"folder", false},
                                                   {"bits per weight"},
                                                   {"right"},
                                                   {"questions"},
                                                   {"accuracy"},
                                                   {"95 % from"},
                                                   {"95 % to"}});
  for (size_t i = 0; i < task.models.size(); ++i) {
    const ReportModel& model = data.models[task.models[i]];
    const AnswerSummary& summary = task.summaries[i];
    table.add({Cell::text(model.label),
               Cell::number(fmt::format("{:.3f}", model.record.bits_per_weight),
                            model.record.bits_per_weight),
               Cell::integer(summary.right), Cell::integer(summary.questions),
               Cell::number(fmt::format("{:.2f} %", points(summary.accuracy)), summary.accuracy),
               Cell::number(fmt::format("{:.2f}", points(summary.ci95.low)), summary.ci95.low),
               Cell::number(fmt::format("{:.2f}", points(summary.ci95.high)), summary.ci95.high)});
  }
  return table.render();
}

std::string pairs_table(const ReportData& data, const ReportTask& task) {
  HtmlTable table("pairs-" + task.record.key.task, {{"a", false},
                                                    {"b", false},
                                                    {"difference, points"},
                                                    {"95 % from"},
                                                    {"95 % to"},
                                                    {"gained"},
                                                    {"lost"},
                                                    {"p (McNemar)"},
                                                    {"p (Holm)"},
                                                    {"detectable, points"}});
  const auto share = [](double value) {
    return Cell::number(fmt::format("{:+.2f}", points(value)), value);
  };
  for (const AnswerPair& pair : task.pairs) {
    table.add({Cell::text(model_at(data, task, pair.a).label),
               Cell::text(model_at(data, task, pair.b).label), share(pair.difference),
               share(pair.ci95.low), share(pair.ci95.high), Cell::integer(pair.flips.gained),
               Cell::integer(pair.flips.lost),
               Cell::number(fmt::format("{:.2g}", pair.mcnemar_p), pair.mcnemar_p),
               Cell::number(fmt::format("{:.2g}", pair.p_holm), pair.p_holm),
               Cell::number(fmt::format("{:.2f}", points(pair.detectable)), pair.detectable)});
  }
  return table.empty() ? "" : table.render();
}

}  // namespace

std::string ladder_text(const ReportData& data, const ReportTask& task) {
  const LadderVerdict& verdict = *task.verdict;
  const auto label = [&](int step) {
    return data.models[task.models[task.judged[static_cast<size_t>(step)]]].label;
  };
  std::string guessing = chance_text(verdict.beside_chance, verdict.chance, task.asked);
  if (!guessing.empty()) guessing += "; ";
  switch (verdict.kind) {
    case LadderKind::kTells:
      return guessing + fmt::format("they still tell {} from {}", label(verdict.closest_told->a),
                                    label(verdict.closest_told->b));
    case LadderKind::kSaturated:
      return guessing + fmt::format("saturated, all models are alike within {:.3g} points",
                                    points(kTellingDifference));
    case LadderKind::kAtChance:
      return fmt::format("{}all models are alike within {:.3g} points", guessing,
                         points(kTellingDifference));
    case LadderKind::kUnderpowered: {
      std::string text = guessing + "underpowered, ";
      text += verdict.detectable >= 1
                  ? fmt::format("{} question{} can show no difference", task.asked,
                                task.asked == 1 ? "" : "s")
                  : fmt::format("{} questions hardly show differences below {:.2f} points",
                                task.asked, points(verdict.detectable));
      if (!verdict.questions_needed) return text;
      return text + fmt::format(", {} would show {:.3g}", group_digits(*verdict.questions_needed),
                                points(kTellingDifference));
    }
    case LadderKind::kOpen:
      return guessing +
             fmt::format(
                 "not told apart, though differences of up to {:.2f} points are not excluded",
                 points(verdict.most_apart));
  }
  return "";
}

std::string tasks_section(const ReportData& data) {
  if (data.tasks.empty()) {
    return section(
        "tasks", "Questions",
        missing_data("No questions were asked. Run",
                     command_of(data, "ram tasks ORIGINAL FOLDER... --task NAME --data FOLDER")));
  }
  std::string body;
  for (const ReportTask& task : data.tasks) {
    body += "<h3>" +
            escape_html(fmt::format("{} ({}): {} of {} questions, {}", task.record.key.task,
                                    task.record.metric, task.asked, task.record.questions,
                                    task.record.key.protocol)) +
            "</h3>\n";
    body += verdict_of(data, task);
    body +=
        "<div class=\"grid\">" + accuracy_plot(data, task) + flips_plot(data, task) + "</div>\n";
    body += accuracy_table(data, task) + pairs_table(data, task);
  }
  body += paragraph(
      "p is from McNemar's exact test, and with subjects at least that of Student's test over "
      "them, "
      "corrected by Holm's method over all pairs of all tasks here. "
      "Intervals hold 95 %: of an accuracy Clopper and Pearson's, of a difference Tango's, where "
      "there are subjects stretched to hold those of resampling these and Student's. "
      "\"Detectable\" is the least difference that the tests, so corrected, find in 4 of 5 trials, "
      "with as many answers that flip and, where there are subjects, with such differences between "
      "these. Two models are compared on the questions that both answered.",
      "soft");
  return section("tasks", "Questions", body);
}

}  // namespace ram
