// What the page comes down to, in three sentences.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/size.h"

#include "html.h"
#include "sections.h"

namespace ram {
namespace {

// Of perplexity, in percent: less is hard to notice.
constexpr double kSmallChange = 1;

const ReportModel* least(const ReportData& data, bool (*fits)(const ReportModel&)) {
  const ReportModel* found = nullptr;
  for (size_t m = 1; m < data.models.size(); ++m) {
    const ReportModel& model = data.models[m];
    if (!fits(model)) continue;
    if (found == nullptr || model.record.bytes < found->record.bytes) found = &model;
  }
  return found;
}

std::string named(const ReportModel& model) {
  return fmt::format("{} ({}, {:.2f} bits per weight)", model.label,
                     format_bytes(model.record.bytes), model.record.bits_per_weight);
}

std::string first_sentence(const ReportData& data) {
  if (data.models.empty()) return "No folder was run yet: this page holds predictions only.";
  const ReportModel& original = data.models.front();
  if (data.models.size() == 1) {
    return fmt::format("{} was run; nothing was compared with it.", named(original));
  }
  int64_t low = data.models[1].record.bytes;
  int64_t high = low;
  for (size_t m = 1; m < data.models.size(); ++m) {
    low = std::min(low, data.models[m].record.bytes);
    high = std::max(high, data.models[m].record.bytes);
  }
  const size_t folders = data.models.size() - 1;
  std::string text = fmt::format("{} stands beside {} folder{} of {}", named(original), folders,
                                 folders == 1 ? "" : "s", format_bytes(low));
  if (high > low) text += fmt::format(" to {}", format_bytes(high));
  if (data.tokens > 0) {
    text += fmt::format(", on {} tokens in {} rows of a text", data.tokens, data.rows.size());
  }
  return text + ".";
}

std::string second_sentence(const ReportData& data) {
  if (!data.has_original)
    return "Without an original to compare with, nothing is said of what was lost.";
  const auto scored = [](const ReportModel& model) { return model.difference.has_value(); };
  if (least(data, scored) == nullptr) return "No text was scored, so that losses are not known.";
  // The smallest whose loss is small for sure; else the best there is.
  const ReportModel* chosen = least(data, [](const ReportModel& model) {
    return model.difference && std::isfinite(model.difference->t95.high) &&
           percent_of(model.difference->t95.high) <= kSmallChange && !model.dominated;
  });
  const bool small = chosen != nullptr;
  for (size_t m = 1; m < data.models.size() && !small; ++m) {
    const ReportModel& model = data.models[m];
    if (model.difference &&
        (chosen == nullptr || model.difference->delta < chosen->difference->delta)) {
      chosen = &model;
    }
  }
  std::string text =
      fmt::format("{} {}: its perplexity changes by {}", named(*chosen),
                  small ? fmt::format("is the smallest of which the loss is surely below {} %",
                                      short_number(kSmallChange))
                        : "loses least",
                  change_text(*chosen->difference));
  if (chosen->kl) text += fmt::format(", its KL divergence is {:.3g}", chosen->kl->delta);
  return text + ".";
}

// "choice" is any file of anybody's.
std::string questions_of(const ReportTask& task) {
  return task.record.key.task == "choice" ? "The questions asked"
                                          : "The questions of " + task.record.key.task;
}

std::string third_sentence(const ReportData& data) {
  for (const ReportTask& task : data.tasks) {
    if (!task.verdict || task.verdict->kind != LadderKind::kSaturated) continue;
    const bool told = std::any_of(data.models.begin(), data.models.end(), [](const auto& model) {
      return model.difference && model.difference->p < kLevel;
    });
    return fmt::format(
        "{} cannot tell these models apart: they spread {:.2f} points where "
        "{:.2f} "
        "could be seen{}.",
        questions_of(task), 100 * task.verdict->spread, 100 * task.verdict->detectable,
        told ? "; losses still can" : "");
  }
  for (const ReportTask& task : data.tasks) {
    if (!task.verdict || !task.verdict->closest_told) continue;
    const LadderPair& pair = *task.verdict->closest_told;
    const auto label = [&](int at) {
      return data.models[task.models[static_cast<size_t>(at)]].label;
    };
    return fmt::format("{} still tell {} from {}.", questions_of(task), label(pair.a),
                       label(pair.b));
  }
  if (!data.tasks.empty())
    return "The questions asked show no difference that is more than chance.";
  return "No questions were asked, so that nothing is said of answers.";
}

}  // namespace

double percent_of(double nats) {
  return 100 * std::expm1(nats);
}

double megabytes(double bytes) {
  return bytes / 1e6;
}

std::string command_of(const ReportData& data, const std::string& command) {
  return data.study.empty() || data.study == "./ram.db" ? command
                                                        : command + " --study " + data.study;
}

std::string change_text(const PairedDifference& difference) {
  const double change = percent_of(difference.delta);
  if (!std::isfinite(difference.t95.low)) return fmt::format("{:+.2f} %", change);
  const double reach = (percent_of(difference.t95.high) - percent_of(difference.t95.low)) / 2;
  const int digits = reach < 0.1 ? 2 : 1;
  return fmt::format("{:+.{}f} % ± {:.{}f}", change, digits, reach, digits);
}

std::string verdict_section(const ReportData& data) {
  return paragraph(first_sentence(data) + " " + second_sentence(data) + " " + third_sentence(data),
                   "verdict");
}

}  // namespace ram
