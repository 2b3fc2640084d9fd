// Tasks: the models asked by one protocol, their answers, and the verdicts. Each model has the
// questions that it answered; two models are compared on those that both answered.
#include <algorithm>
#include <iterator>
#include <set>
#include <tuple>

#include "ram/answer_table.h"

#include "subject.h"

namespace ram {
namespace {

using Answers = std::map<int64_t, TaskAnswer>;

/// The part of the key that two models' answers must share to be compared: all of it except the
/// model and its context length.
struct Group {
  std::string task;
  std::string data;
  std::string precision;
  std::string examples;
  auto operator<=>(const Group&) const = default;
};

// "25 examples of the training split, at most 2048 tokens, rule 1": the first part.
std::string examples_of(const std::string& protocol) {
  return protocol.substr(0, protocol.find(", at most "));
}

// For each group, the records of the latest rule by which a model on the page was asked. Models
// with answers of an older rule only are listed as left out.
std::map<Group, std::vector<TaskRecord>> group_tasks(Study& study, ReportData& data) {
  std::map<std::string, std::string> labels;
  for (const ReportModel& model : data.models) labels[model.record.digest] = model.label;
  std::map<Group, std::pair<int64_t, std::vector<TaskRecord>>> latest;
  std::map<Group, std::vector<TaskRecord>> older;
  for (TaskRecord& record : AnswerTable(study).tasks()) {
    if (!labels.contains(record.key.model)) continue;
    const Group group = {.task = record.key.task,
                         .data = record.key.data,
                         .precision = record.key.precision,
                         .examples = examples_of(record.key.protocol)};
    auto& [rule, records] = latest[group];
    const int64_t own = rule_of(record.key.protocol);
    if (own < rule) {
      older[group].push_back(std::move(record));
      continue;
    }
    if (own > rule) {
      std::move(records.begin(), records.end(), std::back_inserter(older[group]));
      records.clear();
    }
    rule = own;
    records.push_back(std::move(record));
  }
  std::map<Group, std::vector<TaskRecord>> groups;
  for (auto& [group, entry] : latest) groups.emplace(group, std::move(entry.second));
  for (const auto& [group, records] : older) {
    std::set<std::string> shown;
    for (const TaskRecord& record : groups.at(group)) shown.insert(record.key.model);
    for (const TaskRecord& record : records) {
      if (!shown.insert(record.key.model).second) continue;
      data.left_out.push_back({.name = labels.at(record.key.model) + ", " + group.task,
                               .why = "answered by an older rule (" + record.key.protocol + ")"});
    }
  }
  return groups;
}

std::vector<TaskAnswer> values_of(const Answers& answers) {
  std::vector<TaskAnswer> values;
  for (const auto& [question, answer] : answers) values.push_back(answer);
  return values;
}

// Two models' answers to the questions that both answered.
std::pair<std::vector<TaskAnswer>, std::vector<TaskAnswer>> shared(const Answers& one,
                                                                   const Answers& other) {
  std::pair<std::vector<TaskAnswer>, std::vector<TaskAnswer>> both;
  for (const auto& [question, answer] : one) {
    const auto found = other.find(question);
    if (found == other.end()) continue;
    both.first.push_back(answer);
    both.second.push_back(found->second);
  }
  return both;
}

void compare_pairs(ReportTask& task, const std::vector<Answers>& known,
                   const ReportOptions& options) {
  for (size_t a = 0; a < known.size(); ++a) {
    for (size_t b = 0; b < a; ++b) {
      const auto [first, second] = shared(known[b], known[a]);
      if (first.empty()) continue;
      const std::vector<std::span<const TaskAnswer>> spans = {first, second};
      AnswerPair& pair =
          task.pairs.emplace_back(compare_answers(spans, options.seed, options.threads).front());
      pair.a = static_cast<int>(a);
      pair.b = static_cast<int>(b);
    }
  }
}

// Judges the models that answered the most questions. These are the same questions, since samples
// are nested.
void judge_task(const ReportData& data, ReportTask& task, int64_t comparisons) {
  std::vector<double> bits;
  std::vector<AnswerSummary> summaries;
  std::map<int, int> place;
  for (size_t i = 0; i < task.models.size(); ++i) {
    if (task.summaries[i].questions < task.asked) continue;
    place.emplace(static_cast<int>(i), static_cast<int>(task.judged.size()));
    task.judged.push_back(i);
    bits.push_back(data.models[task.models[i]].record.bits_per_weight);
    summaries.push_back(task.summaries[i]);
  }
  std::vector<AnswerPair> pairs;
  for (AnswerPair pair : task.pairs) {
    if (!place.contains(pair.a) || !place.contains(pair.b)) continue;
    if (pair.questions < task.asked) continue;
    pair.a = place.at(pair.a);
    pair.b = place.at(pair.b);
    pairs.push_back(pair);
  }
  // Equally many answers to other questions (another --seed) cannot be compared: without a pair for
  // every two models there is no verdict.
  const size_t judged = task.judged.size();
  if (judged < 2 || pairs.size() < judged * (judged - 1) / 2) return;
  task.verdict = judge_answers(bits, summaries, pairs, comparisons);
}

void judge_tasks(ReportData& data) {
  std::vector<AnswerPair*> all;
  for (ReportTask& task : data.tasks) {
    for (AnswerPair& pair : task.pairs) all.push_back(&pair);
  }
  correct_pairs(all);
  for (ReportTask& task : data.tasks) judge_task(data, task, std::ssize(all));
}

}  // namespace

void gather_tasks(Study& study, const ReportOptions& options, ReportData& data) {
  for (const auto& [group, records] : group_tasks(study, data)) {
    ReportTask task;
    std::vector<Answers> known;
    for (size_t m = 0; m < data.models.size(); ++m) {
      for (const TaskRecord& record : records) {
        if (record.key.model != data.models[m].record.digest) continue;
        Answers answers = AnswerTable(study).answers(record.key);
        if (answers.empty()) continue;
        if (task.models.empty()) task.record = record;
        task.models.push_back(m);
        task.summaries.push_back(summarize_answers(values_of(answers)));
        task.asked = std::max(task.asked, std::ssize(answers));
        known.push_back(std::move(answers));
        break;
      }
    }
    if (task.models.empty()) continue;
    compare_pairs(task, known, options);
    data.tasks.push_back(std::move(task));
  }
  judge_tasks(data);
}

}  // namespace ram
