// From the study to what is shown: which original, which folders, which rows.
#include "gather.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "ram/error.h"

#include "documents.h"

namespace ram {
namespace {

/// What one report is about: an original and, if any was scored, a text.
struct Subject {
  std::string original;              // digest; empty: there is none
  std::optional<EvaluationKey> key;  // of the original
  std::set<std::string> models;      // digests, the original's among them
};

// The original with the most folders compared with it on one text; of equals the latest.
std::optional<Subject> find_compared(Study& study, const std::set<std::string>& wanted) {
  std::map<EvaluationKey, std::set<std::string>> compared;
  for (const DivergencePair& pair : study.divergences()) {
    if (pair.reference.precision != "f32" || pair.reference.model == pair.model.model) continue;
    if (!wanted.empty() && !wanted.contains(pair.reference.model)) continue;
    compared[pair.reference].insert(pair.model.model);
  }
  std::optional<Subject> best;
  for (auto& [key, models] : compared) {
    if (best && models.size() + 1 < best->models.size()) continue;
    models.insert(key.model);
    best = Subject{.original = key.model, .key = key, .models = models};
  }
  return best;
}

// Without comparisons: the text, or else the task, that most models saw.
Subject find_seen(Study& study, const std::set<std::string>& wanted) {
  std::map<std::pair<std::string, std::string>, std::set<std::string>> seen;
  std::map<std::pair<std::string, std::string>, EvaluationKey> keys;
  for (const EvaluationKey& key : study.evaluations()) {
    if (key.precision != "f32") continue;
    seen[{key.text, key.protocol}].insert(key.model);
    keys.emplace(std::pair(key.text, key.protocol), key);
  }
  for (const TaskRecord& task : study.tasks()) {
    seen[{"task " + task.key.task, task.key.data}].insert(task.key.model);
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

Series series_of(const std::optional<ReportPlan>& plan) {
  if (!plan) return Series::kOther;
  if (plan->method == "uniform") return Series::kUniform;
  return plan->method == "ram" ? Series::kPublished : Series::kOwn;
}

std::vector<ReportModel> gather_models(Study& study, Subject& subject,
                                       const ReportOptions& options) {
  std::map<std::string, ReportPlan> plans;
  for (const StudyDocument& document : study.documents("plan")) {
    if (!subject.models.contains(document.key)) continue;
    plans.emplace(document.key, read_plan_document(document, options.study));
  }
  std::vector<ReportModel> models;
  for (const EvaluatedModel& record : study.evaluated_models()) {
    if (!subject.models.contains(record.digest)) continue;
    ReportModel& model = models.emplace_back();
    model.record = record;
    const auto plan = plans.find(record.digest);
    if (plan != plans.end()) model.plan = plan->second;
    model.series = series_of(model.plan);
  }
  // Without comparisons, the largest folder that no plan made is taken for the original.
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
  std::map<std::string, int> names;
  for (ReportModel& model : models) {
    const int count = ++names[model.record.name];
    model.label = count == 1 ? model.record.name : fmt::format("{} ({})", model.record.name, count);
    if (model.record.digest == subject.original) model.series = Series::kReference;
  }
  return models;
}

PairedDifference mean_kl(const std::vector<const RowDivergence*>& rows) {
  std::vector<double> sums;
  std::vector<int64_t> tokens;
  for (const RowDivergence* row : rows) {
    double sum = 0;
    for (const float kl : row->kl) sum += static_cast<double>(kl);
    sums.push_back(sum);
    tokens.push_back(std::max<int64_t>(1, std::ssize(row->kl)));
  }
  return paired_difference(sums, tokens);
}

std::vector<const RowDivergence*> take(const std::map<int64_t, RowDivergence>& all,
                                       const std::vector<int64_t>& rows) {
  std::vector<const RowDivergence*> taken;
  for (const int64_t row : rows) {
    const auto found = all.find(row);
    if (found != all.end()) taken.push_back(&found->second);
  }
  return taken;
}

void add_divergence(ReportModel& model, const std::map<int64_t, RowDivergence>& all,
                    const std::vector<int64_t>& rows) {
  const std::vector<const RowDivergence*> taken = take(all, rows);
  if (taken.size() != rows.size()) return;
  std::vector<double> kl;
  int64_t same = 0;
  for (const RowDivergence* row : taken) {
    kl.insert(kl.end(), row->kl.begin(), row->kl.end());
    same += row->same_top1;
  }
  if (kl.empty()) return;
  std::sort(kl.begin(), kl.end());
  model.kl = mean_kl(taken);
  model.kl_median = percentile(kl, 50);
  model.same_top1 = static_cast<double>(same) / static_cast<double>(kl.size());
}

void gather_rows(Study& study, const Subject& subject, ReportData& data) {
  if (!subject.key) return;
  data.text = subject.key->text;
  data.protocol = subject.key->protocol;
  const auto key_of = [&](const std::string& digest) {
    EvaluationKey key = *subject.key;
    key.model = digest;
    return key;
  };
  std::vector<std::map<int64_t, RowScore>> scores;
  bool first = true;
  for (const ReportModel& model : data.models) {
    scores.push_back(study.row_scores(key_of(model.record.digest)));
    if (scores.back().empty()) continue;
    std::vector<int64_t> shared;
    for (const auto& [row, score] : scores.back()) {
      if (first || std::binary_search(data.rows.begin(), data.rows.end(), row)) {
        shared.push_back(row);
      }
    }
    // A folder that shares nothing with the others is left out rather than all of them.
    if (shared.empty()) {
      scores.back().clear();
      continue;
    }
    data.rows = std::move(shared);
    first = false;
  }
  for (size_t m = 0; m < data.models.size(); ++m) {
    ReportModel& model = data.models[m];
    if (scores[m].empty()) continue;
    std::vector<double> sums;
    std::vector<int64_t> tokens;
    for (const int64_t row : data.rows) {
      const RowScore& score = scores[m].at(row);
      model.rows.push_back(score);
      sums.push_back(score.nll_sum);
      tokens.push_back(score.tokens);
    }
    model.summary = summarize_perplexity({sums, tokens});
    if (data.tokens == 0) {
      for (const int64_t count : tokens) data.tokens += count;
    }
    if (m == 0 || !data.has_original || data.models[0].rows.empty()) continue;
    for (size_t i = 0; i < sums.size(); ++i) sums[i] -= data.models[0].rows[i].nll_sum;
    model.difference = paired_difference(sums, tokens);
    add_divergence(model, study.row_divergences(*subject.key, key_of(model.record.digest)),
                   data.rows);
  }
  EvaluationKey rounded = *subject.key;
  rounded.precision = "bf16";
  const auto floor_rows = study.row_divergences(*subject.key, rounded);
  const auto taken = take(floor_rows, data.rows);
  if (!taken.empty()) data.noise_floor = mean_kl(taken).delta;
}

void find_dominated(std::vector<ReportModel>& models) {
  for (ReportModel& model : models) {
    if (!model.kl) continue;
    model.dominated = std::any_of(models.begin(), models.end(), [&](const ReportModel& other) {
      return other.kl && other.record.bytes <= model.record.bytes &&
             other.kl->delta <= model.kl->delta &&
             (other.record.bytes < model.record.bytes || other.kl->delta < model.kl->delta);
    });
  }
}

// Tasks whose questions several of the models answered, on the same data.
void gather_tasks(Study& study, const ReportOptions& options, ReportData& data) {
  std::map<std::tuple<std::string, std::string, std::string>, std::vector<TaskRecord>> groups;
  for (const TaskRecord& record : study.tasks()) {
    groups[{record.key.task, record.key.data, record.key.precision}].push_back(record);
  }
  for (const auto& [name, records] : groups) {
    ReportTask task;
    std::vector<std::map<int64_t, TaskAnswer>> known;
    std::set<int64_t> shared;
    for (size_t m = 0; m < data.models.size(); ++m) {
      for (const TaskRecord& record : records) {
        if (record.key.model != data.models[m].record.digest) continue;
        std::map<int64_t, TaskAnswer> answers = study.answers(record.key);
        if (answers.empty()) continue;
        if (task.models.empty()) task.record = record;
        std::set<int64_t> both;
        for (const auto& [question, answer] : answers) {
          if (task.models.empty() || shared.contains(question)) both.insert(question);
        }
        if (both.empty()) continue;
        shared = std::move(both);
        known.push_back(std::move(answers));
        task.models.push_back(m);
        break;
      }
    }
    if (task.models.empty()) continue;
    task.asked = std::ssize(shared);
    std::vector<std::vector<TaskAnswer>> answers;
    for (const auto& all : known) {
      std::vector<TaskAnswer>& own = answers.emplace_back();
      for (const int64_t question : shared) own.push_back(all.at(question));
      task.summaries.push_back(summarize_answers(own));
    }
    const std::vector<std::span<const TaskAnswer>> spans(answers.begin(), answers.end());
    task.pairs = compare_answers(spans, options.seed, options.threads);
    data.tasks.push_back(std::move(task));
  }
}

void judge_tasks(ReportData& data) {
  std::vector<double> p_values;
  for (const ReportTask& task : data.tasks) {
    for (const AnswerPair& pair : task.pairs) p_values.push_back(pair.mcnemar_p);
  }
  const std::vector<double> adjusted = holm(p_values);
  size_t at = 0;
  for (ReportTask& task : data.tasks) {
    for (AnswerPair& pair : task.pairs) pair.p_holm = adjusted[at++];
    if (task.models.size() < 2) continue;
    std::vector<double> bits;
    for (const size_t model : task.models) {
      bits.push_back(data.models[model].record.bits_per_weight);
    }
    task.verdict = judge_answers(bits, task.summaries, task.pairs);
  }
}

// Sweeps and curves of the source that the plans are of; of any source where there is no plan.
void gather_documents(Study& study, const ReportOptions& options, ReportData& data) {
  std::string fingerprint;
  for (const ReportModel& model : data.models) {
    if (model.plan) fingerprint = model.plan->fingerprint;
  }
  if (fingerprint.empty()) {
    for (const ModelRecord& record : study.models()) {
      if (options.model.empty() || record.name == options.model) fingerprint = record.fingerprint;
    }
  }
  for (const StudyDocument& document : study.documents("sweep")) {
    if (document.key.rfind(fingerprint + " ", 0) == 0) {
      data.sweeps.push_back(read_sweep_document(document, options.study));
    }
  }
  for (const StudyDocument& document : study.documents("noise")) {
    for (size_t i = 0; i < data.models.size(); ++i) {
      if (data.models[i].record.digest != document.key) continue;
      data.noises.emplace_back(i, read_noise_document(document, options.study));
    }
  }
  std::sort(data.noises.begin(), data.noises.end(),
            [](const auto& a, const auto& b) { return a.first < b.first; });
  const std::string original = data.has_original ? data.models[0].record.digest : "";
  for (const StudyDocument& document : study.documents("gptq")) {
    if (document.key == original) data.feedback = read_gptq_document(document, options.study);
  }
  for (const StudyDocument& document : study.documents("measured_sweep")) {
    if (original.empty() || document.key.rfind(original + " ", 0) != 0) continue;
    data.measured_sweeps.push_back(read_measured_sweep_document(document, options.study));
  }
  for (const StudyDocument& document : study.documents("curves")) {
    if (document.key == fingerprint) data.curves = read_curves_document(document, options.study);
  }
}

}  // namespace

ReportData gather(Study& study, const ReportOptions& options) {
  std::set<std::string> wanted;
  std::string known;
  for (const EvaluatedModel& model : study.evaluated_models()) {
    if (model.name == options.model) wanted.insert(model.digest);
    known += (known.empty() ? "" : ", ") + model.name;
  }
  ReportData data;
  data.study = options.study;
  data.seed = options.seed;
  const bool looked_for = options.model.empty() || !wanted.empty();
  Subject subject;
  if (looked_for) {
    const std::optional<Subject> compared = find_compared(study, wanted);
    subject = compared ? *compared : find_seen(study, wanted);
  }
  data.models = gather_models(study, subject, options);
  data.has_original = !subject.original.empty() && data.models.size() > 1;
  gather_rows(study, subject, data);
  find_dominated(data.models);
  gather_tasks(study, options, data);
  judge_tasks(data);
  gather_documents(study, options, data);
  data.runs = study.runs();
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
