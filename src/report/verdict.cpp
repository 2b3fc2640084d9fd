// The summary of the page, in three sentences.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <set>

#include <fmt/format.h>

#include "ram/eval.h"
#include "ram/size.h"

#include "html.h"
#include "sections.h"

namespace ram {
namespace {

// Change of perplexity in percent; less is hard to notice.
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
  std::string text = fmt::format("{} is compared with {} folder{} of {}", named(original), folders,
                                 folders == 1 ? "" : "s", format_bytes(low));
  if (high > low) text += fmt::format(" to {}", format_bytes(high));
  if (data.tokens > 0) {
    text += fmt::format(", on {} tokens in {} rows of {}", group_digits(data.tokens),
                        data.rows.size(), data.text_name);
  }
  return text + ".";
}

// A folder with fewer rows than the others, or with one row, is compared with them only if there is
// no other.
bool comparable(const ReportModel& model) {
  return !model.partial && model.rows.size() >= 2;
}

const ReportModel* loses_least(const ReportData& data) {
  const ReportModel* found = nullptr;
  for (size_t m = 1; m < data.models.size(); ++m) {
    const ReportModel& model = data.models[m];
    if (!model.difference || (found != nullptr && comparable(*found) && !comparable(model)))
      continue;
    if (found == nullptr || comparable(model) != comparable(*found) ||
        model.difference->delta < found->difference->delta) {
      found = &model;
    }
  }
  return found;
}

// Whether the folder with the least loss is better than each other one beyond chance.
bool surely_loses_least(const ReportData& data, const ReportModel& chosen) {
  std::vector<double> p_values;
  for (size_t m = 1; m < data.models.size(); ++m) {
    const ReportModel& other = data.models[m];
    if (&other == &chosen || !other.difference) continue;
    if (!comparable(chosen)) return false;
    if (comparable(other)) p_values.push_back(difference_of(chosen, other).p);
  }
  const std::vector<double> adjusted = holm(p_values);
  return std::all_of(adjusted.begin(), adjusted.end(), [](double p) { return p < kLevel; });
}

// "+0.17 % ± 0.05 (half of the 95 % interval)"; without the interval if there is only one row.
std::string change_text(const PairedDifference& difference) {
  const double change = percent_of(difference.delta);
  if (!std::isfinite(difference.t95.low)) return fmt::format("{:+.2f} %", change);
  const double reach = (percent_of(difference.t95.high) - percent_of(difference.t95.low)) / 2;
  const int digits = reach < 0.1 ? 2 : 1;
  return fmt::format("{:+.{}f} % ± {:.{}f} (half of the 95 % interval)", change, digits, reach,
                     digits);
}

// The folders whose perplexity is surely less than `share` above the original's.
std::vector<size_t> surely_small(const std::vector<ReportModel>& models, double share) {
  std::vector<size_t> tested;
  std::vector<PairedDifference> differences;
  std::vector<int64_t> rows;
  for (size_t m = 0; m < models.size(); ++m) {
    if (!models[m].difference) continue;
    tested.push_back(m);
    differences.push_back(*models[m].difference);
    rows.push_back(std::ssize(models[m].rows));
  }
  std::vector<size_t> small;
  for (const size_t i : surely_below(differences, rows, share)) small.push_back(tested[i]);
  return small;
}

std::string second_sentence(const ReportData& data) {
  if (!data.has_original) return "There is no original to compare with, so the loss is unknown.";
  const auto scored = [](const ReportModel& model) { return model.difference.has_value(); };
  if (least(data, scored) == nullptr) return "No text was scored, so losses are unknown.";
  const std::vector<size_t> small = surely_small(data.models, kSmallChange / 100);
  const ReportModel* chosen = nullptr;
  for (const size_t m : small) {
    const ReportModel& model = data.models[m];
    if (chosen == nullptr || model.record.bytes < chosen->record.bytes) chosen = &model;
  }
  std::string why =
      fmt::format("is the smallest whose loss is below {} %, at 95 % for all folders together",
                  short_number(kSmallChange));
  if (chosen == nullptr) {
    chosen = loses_least(data);
    why = surely_loses_least(data, *chosen)
              ? "loses least"
              : "has the least mean loss of those, not surely less than that of the others";
  }
  std::string text = fmt::format("{} {}: its perplexity changes by {}", named(*chosen), why,
                                 change_text(*chosen->difference));
  if (chosen->kl) text += fmt::format(", its KL divergence is {:.3g}", chosen->kl->delta);
  return text + ".";
}

// task "choice" is a file that the user supplied.
std::string questions_of(const ReportTask& task) {
  return task.record.key.task == "choice" ? "The questions asked"
                                          : "The questions of " + task.record.key.task;
}

// Which folders were scored on fewer rows than the original.
std::string rows_sentence(const ReportData& data) {
  std::string names;
  for (const ReportModel& model : data.models) {
    if (!model.partial) continue;
    names += fmt::format("{}{} ({} row{})", names.empty() ? "" : ", ", model.label,
                         model.rows.size(), model.rows.size() == 1 ? "" : "s");
  }
  if (names.empty()) return "";
  return paragraph(fmt::format("Scored on fewer than the {} rows: {}. Their divergence and their "
                               "difference from the original cover the rows that they share with "
                               "it; their mean and median are of other text than the others'.",
                               data.rows.size(), names),
                   "soft");
}

std::string left_out_sentence(const ReportData& data) {
  if (data.left_out.empty()) return "";
  constexpr size_t kMost = 30;
  std::string names;
  for (size_t i = 0; i < std::min(kMost, data.left_out.size()); ++i) {
    names +=
        fmt::format("{}{} ({})", i > 0 ? ", " : "", data.left_out[i].name, data.left_out[i].why);
  }
  if (data.left_out.size() > kMost) {
    names += fmt::format(" and {} more", data.left_out.size() - kMost);
  }
  return paragraph("In the study, but not on this page: " + names +
                       ". ram report --text NAME and --model NAME choose what is shown.",
                   "soft");
}

// Whether the losses on the text distinguish any of the questioned models from the original. Holm's
// correction covers all folders; a folder within the original's rounding counts as tied, even if
// its mean differs significantly.
bool losses_tell(const ReportData& data, const ReportTask& task) {
  std::set<size_t> asked;
  for (const size_t position : task.judged) asked.insert(task.models[position]);
  if (!data.has_original || !asked.contains(0)) return false;
  std::vector<size_t> folders;
  std::vector<double> p_values;
  for (size_t m = 0; m < data.models.size(); ++m) {
    if (!data.models[m].difference) continue;
    folders.push_back(m);
    p_values.push_back(data.models[m].difference->p);
  }
  const std::vector<double> adjusted = holm(p_values);
  for (size_t i = 0; i < folders.size(); ++i) {
    const ReportModel& model = data.models[folders[i]];
    const bool tied =
        model.kl && data.noise_floor && model.kl->delta <= kNoiseFactor * *data.noise_floor;
    if (adjusted[i] < kLevel && asked.contains(folders[i]) && !tied) return true;
  }
  return false;
}

std::string third_sentence(const ReportData& data) {
  const ReportTask* chosen = nullptr;
  for (const ReportTask& task : data.tasks) {
    if (!task.verdict) continue;
    // A benchmark that distinguishes models is preferred to one that does not.
    const bool tells = task.verdict->kind == LadderKind::kTells;
    if (chosen == nullptr || (tells && chosen->verdict->kind != LadderKind::kTells)) chosen = &task;
  }
  if (chosen != nullptr) {
    std::string text = fmt::format("{}: {}", questions_of(*chosen), ladder_text(data, *chosen));
    if (chosen->verdict->kind != LadderKind::kTells && losses_tell(data, *chosen)) {
      text += "; losses distinguish them";
    }
    return text + ".";
  }
  const bool several = std::any_of(data.tasks.begin(), data.tasks.end(),
                                   [](const ReportTask& task) { return task.models.size() > 1; });
  if (several)
    return "The models were asked different questions, so there is no verdict on answers.";
  if (!data.tasks.empty()) return "The questions were asked of one model only.";
  return "No questions were asked, so there is no verdict on answers.";
}

}  // namespace

double percent_of(double nats) {
  return 100 * std::expm1(nats);
}

double megabytes(double bytes) {
  return bytes / 1e6;
}

std::string command_of(const ReportData& data, const std::string& command) {
  // A page that is passed on must not reveal the folders of this machine.
  const std::string study = std::filesystem::path(data.study).filename().string();
  return data.study.empty() || data.study == "./ram.db" ? command : command + " --study " + study;
}

std::string verdict_section(const ReportData& data) {
  std::string html = paragraph(
      first_sentence(data) + " " + second_sentence(data) + " " + third_sentence(data), "verdict");
  return html + rows_sentence(data) + left_out_sentence(data);
}

}  // namespace ram
