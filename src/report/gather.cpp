// Selects what is shown from the study: which original, which folders, which rows.
#include "gather.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/answer_table.h"
#include "ram/curve_table.h"
#include "ram/error.h"
#include "ram/plan.h"
#include "ram/text.h"

#include "documents.h"
#include "subject.h"

namespace ram {
namespace {

/// Digests of the texts that a report may cover; nothing: any text.
using Texts = std::optional<std::set<std::string>>;

bool is_wanted(const Texts& texts, const std::string& text) {
  return !texts || texts->contains(text);
}

/// Order of candidates for the subject: the later rule wins, then more models; of equals the later
/// candidate.
bool is_better(const Subject& candidate, const Subject& than) {
  const auto rule = [](const Subject& subject) {
    return subject.key ? rule_of(subject.key->protocol) : 0;
  };
  if (rule(candidate) != rule(than)) return rule(candidate) > rule(than);
  return candidate.models.size() >= than.models.size();
}

// The original with the most folders compared with it on one text; if tied, the latest.
std::optional<Subject> find_compared(Study& study, const std::set<std::string>& wanted,
                                     const Texts& texts) {
  std::map<EvaluationKey, std::set<std::string>> compared;
  for (const DivergencePair& pair : ScoreTable(study).pairs()) {
    if (pair.reference.precision != "f32" || pair.reference.model == pair.model.model) continue;
    if (!wanted.empty() && !wanted.contains(pair.reference.model)) continue;
    if (!is_wanted(texts, pair.reference.text)) continue;
    compared[pair.reference].insert(pair.model.model);
  }
  std::optional<Subject> best;
  for (auto& [key, models] : compared) {
    models.insert(key.model);
    Subject candidate = {.original = key.model, .key = key, .models = models};
    if (!best || is_better(candidate, *best)) best = std::move(candidate);
  }
  return best;
}

// Without comparisons: the text, or else the task, of most models.
Subject find_seen(Study& study, const std::set<std::string>& wanted, const Texts& texts) {
  std::map<std::pair<std::string, std::string>, std::set<std::string>> seen;
  std::map<std::pair<std::string, std::string>, EvaluationKey> keys;
  for (const EvaluationKey& key : ScoreTable(study).evaluations()) {
    if (key.precision != "f32" || !is_wanted(texts, key.text)) continue;
    seen[{key.text, key.protocol}].insert(key.model);
    keys.emplace(std::pair(key.text, key.protocol), key);
  }
  if (!texts) {
    for (const TaskRecord& task : AnswerTable(study).tasks()) {
      seen[{"task " + task.key.task, task.key.data}].insert(task.key.model);
    }
  }
  Subject best;
  for (const auto& [what, models] : seen) {
    const bool has_wanted =
        wanted.empty() || std::any_of(models.begin(), models.end(),
                                      [&](const auto& digest) { return wanted.contains(digest); });
    if (!has_wanted || models.size() <= best.models.size()) continue;
    best = {.original = "", .key = {}, .models = models};
    const auto key = keys.find(what);
    if (key != keys.end()) best.key = key->second;
  }
  return best;
}

constexpr size_t kShownDigits = 12;

std::string unnamed_text(const std::string& digest) {
  return "text " + digest.substr(0, kShownDigits);
}

std::map<std::string, std::string> text_names(Study& study) {
  std::map<std::string, std::string> names;
  for (const EvaluationKey& key : ScoreTable(study).evaluations()) {
    names.emplace(key.text, unnamed_text(key.text));
  }
  for (const StudyDocument& document : study.documents("text")) {
    const auto known = names.find(document.key);
    if (known != names.end()) known->second = document.text;
  }
  return names;
}

// The texts that --text selects: by a file's name or the beginning of a digest.
Texts find_texts(const std::map<std::string, std::string>& names, const ReportOptions& options) {
  if (options.text.empty()) return std::nullopt;
  constexpr size_t kLeastDigits = 6;
  const size_t slash = options.text.find_last_of('/');
  const std::string wanted =
      slash == std::string::npos ? options.text : options.text.substr(slash + 1);
  std::set<std::string> found;
  std::set<std::string> known;
  for (const auto& [digest, name] : names) {
    const bool by_digest = wanted.size() >= kLeastDigits && digest.starts_with(wanted);
    if (name == wanted || by_digest) found.insert(digest);
    known.insert(name);
  }
  if (found.empty()) {
    fail(Code::kMissing, "study {}: no model was scored on a text named '{}'; {}", options.study,
         options.text,
         known.empty() ? "no model was scored on any text; use `ram compare`"
                       : fmt::format("there are {}", fmt::join(known, ", ")));
  }
  return found;
}

// What is not on the page, and why.
void list_left_out(Study& study, const Subject& subject,
                   const std::map<std::string, std::string>& names, ReportData& data) {
  std::set<std::string> shown;
  for (const ReportModel& model : data.models) {
    if (!subject.key || !model.rows.empty()) shown.insert(model.record.digest);
  }
  std::map<std::string, std::set<std::string>> scored;     // by model: its texts
  std::map<std::string, std::set<std::string>> protocols;  // by model: its protocols on this text
  std::map<std::string, std::set<std::string>> others;     // by other text: its models
  for (const EvaluationKey& key : ScoreTable(study).evaluations()) {
    if (key.precision != "f32") continue;
    scored[key.model].insert(names.at(key.text));
    const bool same_text = subject.key && key.text == subject.key->text;
    if (same_text) protocols[key.model].insert(key.protocol);
    if (!same_text) others[key.text].insert(key.model);
  }
  for (const TaskRecord& task : AnswerTable(study).tasks()) {
    scored[task.key.model].insert("the questions of " + task.key.task);
  }
  const std::string original = data.has_original ? data.models.front().label : "the original";
  for (const EvaluatedModel& record : EvaluatedModelTable(study).all()) {
    if (shown.contains(record.digest) || !scored.contains(record.digest)) continue;
    std::string why;
    const std::set<std::string>& own = protocols[record.digest];
    if (subject.key && own.contains(subject.key->protocol)) {
      why = subject.models.contains(record.digest)
                ? "scored on other rows than " + original
                : "scored on this text, but not compared with " + original;
    } else if (!own.empty()) {
      why = fmt::format("scored on this text with other rows ({})", fmt::join(own, "; "));
    } else {
      why = fmt::format("seen on {}", fmt::join(scored.at(record.digest), ", "));
    }
    data.left_out.push_back({.name = record.name, .why = std::move(why)});
  }
  for (const auto& [text, models] : others) {
    const std::string& name = names.at(text);
    const auto alike = std::count_if(names.begin(), names.end(),
                                     [&](const auto& entry) { return entry.second == name; });
    const bool unnamed = name == unnamed_text(text);
    data.left_out.push_back({.name = name,
                             .why = fmt::format("text of {} folder{}, shown by --text {}",
                                                models.size(), models.size() == 1 ? "" : "s",
                                                unnamed || alike > 1 ? text.substr(0, kShownDigits)
                                                                     : shell_word(name))});
  }
}

Series series_of_plan(const std::optional<ReportPlan>& plan) {
  if (!plan) return Series::kOther;
  if (plan->method == method_name(Method::kUniform)) return Series::kUniform;
  return plan->method == method_name(Method::kPublished) ? Series::kPublished : Series::kOwn;
}

std::vector<ReportModel> gather_models(Study& study, Subject& subject,
                                       const ReportOptions& options) {
  std::map<std::string, ReportPlan> plans;
  for (const StudyDocument& document : study.documents("plan")) {
    if (!subject.models.contains(document.key)) continue;
    try {
      plans.emplace(document.key, read_plan_document(document, options.study));
    } catch (const Error&) {
      // An unreadable plan.json (edited by hand, or of another version) does not hide the other
      // folders: its folder is shown as one without a plan.
    }
  }
  std::vector<ReportModel> models;
  for (const EvaluatedModel& record : EvaluatedModelTable(study).all()) {
    if (!subject.models.contains(record.digest)) continue;
    ReportModel& model = models.emplace_back();
    model.record = record;
    const auto plan = plans.find(record.digest);
    if (plan != plans.end()) model.plan = plan->second;
    model.series = series_of_plan(model.plan);
  }
  // Without comparisons, the largest folder without a plan is taken as the original.
  if (subject.original.empty() && models.size() > 1) {
    const ReportModel* largest = nullptr;
    for (const ReportModel& model : models) {
      if (model.plan) continue;
      if (largest == nullptr || model.record.bytes > largest->record.bytes) largest = &model;
    }
    if (largest != nullptr) subject.original = largest->record.digest;
  }
  std::stable_sort(models.begin(), models.end(), [&](const ReportModel& a, const ReportModel& b) {
    const bool a_first = a.record.digest == subject.original;
    const bool b_first = b.record.digest == subject.original;
    return a_first != b_first ? a_first : a.record.bytes < b.record.bytes;
  });
  std::set<std::string> labels;
  for (ReportModel& model : models) {
    model.label = model.record.name;
    for (int count = 2; !labels.insert(model.label).second; ++count) {
      model.label = fmt::format("{} ({})", model.record.name, count);
    }
    if (model.record.digest == subject.original) model.series = Series::kReference;
  }
  return models;
}

// A sweep of an earlier version names its method as that version did. One of each method is shown.
template <typename Record>
void add_sweep(std::vector<Record>& sweeps, Record sweep) {
  const std::string name = current_method_name(sweep.method);
  const bool current = sweep.method == name;
  sweep.method = name;
  for (Record& other : sweeps) {
    if (other.method != name) continue;
    if (current) other = std::move(sweep);
    return;
  }
  sweeps.push_back(std::move(sweep));
}

// Sweeps and curves of the plans' source; of any source if there is no plan.
void gather_documents(Study& study, const ReportOptions& options, ReportData& data) {
  std::string fingerprint;
  for (const ReportModel& model : data.models) {
    if (model.plan) fingerprint = model.plan->fingerprint;
  }
  if (fingerprint.empty()) {
    for (const ModelRecord& record : ModelTable(study).all()) {
      if (options.model.empty() || record.name == options.model) fingerprint = record.fingerprint;
    }
  }
  for (const StudyDocument& document : study.documents(SweepRecord::kKind)) {
    if (document.key.rfind(fingerprint + " ", 0) == 0) {
      add_sweep(data.sweeps, read_record<SweepRecord>(document, options.study));
    }
  }
  for (const StudyDocument& document : study.documents(NoiseRecord::kKind)) {
    for (size_t i = 0; i < data.models.size(); ++i) {
      if (data.models[i].record.digest != document.key) continue;
      data.noises.emplace_back(i, read_record<NoiseRecord>(document, options.study));
    }
  }
  std::sort(data.noises.begin(), data.noises.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  const std::string original = data.has_original ? data.models[0].record.digest : "";
  for (const StudyDocument& document : study.documents(FeedbackRecord::kKind)) {
    if (document.key == original)
      data.feedback = read_record<FeedbackRecord>(document, options.study);
  }
  for (const StudyDocument& document : study.documents(MeasuredSweepRecord::kKind)) {
    if (original.empty() || document.key.rfind(original + " ", 0) != 0) continue;
    add_sweep(data.measured_sweeps, read_record<MeasuredSweepRecord>(document, options.study));
  }
  for (const StudyDocument& document : study.documents(CurvesRecord::kKind)) {
    if (document.key == fingerprint)
      data.curves = read_record<CurvesRecord>(document, options.study).units;
  }
}

}  // namespace

int64_t rule_of(const std::string& protocol) {
  constexpr std::string_view kWord = "rule ";
  const size_t at = protocol.rfind(kWord);
  int64_t rule = 0;
  if (at == std::string::npos) return 0;
  const char* const end = protocol.data() + protocol.size();
  const auto [stop, error] = std::from_chars(protocol.data() + at + kWord.size(), end, rule);
  return error == std::errc{} && stop == end ? rule : 0;
}

ReportData gather(Study& study, const ReportOptions& options) {
  std::set<std::string> wanted;
  std::string known;
  for (const EvaluatedModel& model : EvaluatedModelTable(study).all()) {
    if (model.name == options.model) wanted.insert(model.digest);
    known += (known.empty() ? "" : ", ") + model.name;
  }
  ReportData data;
  data.study = options.study;
  data.seed = options.seed;
  const std::map<std::string, std::string> names = text_names(study);
  const Texts texts = find_texts(names, options);
  const bool looked_for = options.model.empty() || !wanted.empty();
  Subject subject;
  if (looked_for) {
    const std::optional<Subject> compared = find_compared(study, wanted, texts);
    subject = compared ? *compared : find_seen(study, wanted, texts);
  }
  data.models = gather_models(study, subject, options);
  data.has_original = !subject.original.empty() && data.models.size() > 1;
  if (subject.key) data.text_name = names.at(subject.key->text);
  gather_rows(study, subject, data);
  gather_tasks(study, options, data);
  list_left_out(study, subject, names, data);
  gather_documents(study, options, data);
  data.runs = study.runs();
  if (!options.text.empty() && data.models.empty()) {
    fail(Code::kMissing, "study {}: no model named '{}' was scored on {}", options.study,
         options.model, options.text);
  }
  if (!data.models.empty() || !data.sweeps.empty() || !data.curves.empty()) return data;
  if (!options.model.empty() && !known.empty()) {
    fail(Code::kMissing, "study {}: nothing of a model named '{}'; there are {}", options.study,
         options.model, known);
  }
  fail(Code::kMissing,
       "study {}: nothing to report yet; fill it with `ram compare ORIGINAL FOLDER... --text FILE`",
       options.study);
}

}  // namespace ram
