// Asks models, keeps their answers, and compares them.
#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>

#include "ram/answer_table.h"
#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/progress.h"
#include "ram/tasks.h"

#include "python_text.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

/// Version of prompts and arithmetic: after a change, results of older versions are not found.
constexpr int kTaskRule = 1;
// Seconds of work that a kill may lose.
constexpr double kKeepSeconds = 2;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// The first of the largest, as in numpy's argmax.
int64_t choose(const TaskData& task, const TaskQuestion& question,
               const std::vector<double>& log_likelihoods) {
  std::vector<double> scores = log_likelihoods;
  if (task.info.metric == "acc_norm") {
    for (size_t c = 0; c < scores.size(); ++c) {
      scores[c] /= static_cast<double>(std::max<int64_t>(1, python_length(question.choices[c])));
    }
  }
  return std::max_element(scores.begin(), scores.end()) - scores.begin();
}

/// Counts questions of all models and tasks for the single progress line.
class Counter {
 public:
  Counter(int64_t total, const ProgressFn& progress) : total_(total), progress_(progress) {}
  void show() const {
    if (!progress_) return;
    progress_({.phase = "ask", .done = done_, .total = total_, .counted = "questions"});
  }
  void count() {
    ++done_;
    show();
  }

 private:
  int64_t total_;
  const ProgressFn& progress_;
  int64_t done_ = 0;
};

/// The questions of one task that one model has not answered yet.
struct Missing {
  TaskRecord record;
  std::vector<const TaskQuestion*> questions;
};

Missing find_missing(const TaskData& task, const OpenedModel& model, Precision precision,
                     Study& study) {
  Missing missing{.record = {.key = task_key(model.record, precision, task,
                                             model.checkpoint.config.max_positions),
                             .metric = std::string(task.info.metric),
                             .questions = task.total},
                  .questions = {}};
  const std::map<int64_t, TaskAnswer> known = AnswerTable(study).answers(missing.record.key);
  for (const TaskQuestion& question : task.questions) {
    if (!known.contains(question.index)) missing.questions.push_back(&question);
  }
  return missing;
}

/// The cost of asking.
struct Cost {
  int64_t asked = 0;
  int64_t naive_tokens = 0;
  int64_t tokens = 0;
  double seconds = 0;
};

Cost ask(const TaskData& task, const Missing& missing, const Tokenizer& tokenizer,
         const Checkpoint& checkpoint, ChoiceScorer& scorer, Study& study, Counter& counter) {
  const int64_t context = checkpoint.config.max_positions;
  const auto start = Clock::now();
  auto kept = start;
  const int64_t tokens_before = scorer.tokens();
  Cost cost;
  std::vector<TaskAnswer> answers;
  const auto keep = [&] {
    kept = Clock::now();
    if (answers.empty()) return;
    // The record identifies the model by its content at opening.
    checkpoint.check_unchanged();
    AnswerTable(study).put(missing.record, answers);
    answers.clear();
  };
  try {
    for (const TaskQuestion* question : missing.questions) {
      check_interrupted();
      const PromptTokens prompt = tokenize_question(*question, tokenizer, context);
      check_token_ids(prompt.rows, checkpoint);
      TaskAnswer answer{.question = question->index,
                        .group = question->group,
                        .answer = question->answer,
                        .cut = prompt.cut,
                        .log_likelihoods = scorer.log_likelihoods(prompt)};
      answer.choice = choose(task, *question, answer.log_likelihoods);
      answers.push_back(std::move(answer));
      cost.naive_tokens += prompt.naive_tokens();
      ++cost.asked;
      counter.count();
      if (since(kept) > kKeepSeconds) keep();
    }
  } catch (const Error&) {
    keep();  // after an interrupt, or a question that cannot be asked, the answers so far are kept
    throw;
  }
  keep();
  cost.tokens = scorer.tokens() - tokens_before;
  cost.seconds = since(start);
  return cost;
}

TaskOutcome collect(const TaskData& task, const TaskKey& key, const Cost& cost, Study& study) {
  const std::map<int64_t, TaskAnswer> known = AnswerTable(study).answers(key);
  std::vector<TaskAnswer> answers;
  for (const TaskQuestion& question : task.questions) {
    const auto found = known.find(question.index);
    // Another program may remove a model while it is asked: that is not a defect.
    if (found == known.end()) {
      fail(Code::kMissing,
           "study {}: it lost answers of this model while others were computed (ram studies rm?): "
           "run the same command again",
           study.path().string());
    }
    answers.push_back(found->second);
  }
  TaskOutcome outcome{.summary = summarize_answers(answers), .answers = {}};
  outcome.answers = std::move(answers);
  outcome.asked = cost.asked;
  outcome.naive_tokens = cost.naive_tokens;
  outcome.tokens = cost.tokens;
  outcome.seconds = cost.seconds;
  return outcome;
}

void judge(TaskRun& run) {
  std::vector<AnswerPair*> all;
  all.reserve(run.pairs.size());
  for (TaskPair& pair : run.pairs) all.push_back(&pair);
  correct_pairs(all);
  for (size_t t = 0; t < run.tasks.size(); ++t) {
    std::optional<LadderVerdict>& verdict = run.verdicts.emplace_back();
    if (run.models.size() < 2) continue;
    std::vector<double> bits;
    std::vector<AnswerSummary> summaries;
    for (const AskedModel& model : run.models) {
      bits.push_back(model.model.bits_per_weight);
      summaries.push_back(model.tasks[t].summary);
    }
    std::vector<AnswerPair> pairs;
    for (const TaskPair& pair : run.pairs) {
      if (pair.task == static_cast<int>(t)) pairs.push_back(pair);
    }
    verdict = judge_answers(bits, summaries, pairs, std::ssize(all));
  }
}

}  // namespace

TaskKey task_key(const EvaluatedModel& model, Precision precision, const TaskData& task,
                 int64_t context) {
  const std::string examples = task.info.examples == 0
                                   ? "no examples"
                                   : fmt::format("{} examples of the {} split", task.info.examples,
                                                 task.examples_from_asked ? "asked" : "training");
  return {.model = model.digest,
          .precision = std::string(precision_name(precision)),
          .task = std::string(task.info.name),
          .data = task.digest,
          .protocol = fmt::format("{}, at most {} tokens, rule {}", examples, context, kTaskRule)};
}

TaskRun run_tasks(std::span<const std::string> names, std::vector<TaskData> tasks, uint64_t seed,
                  const EngineOptions& options, Study& study, const ProgressFn& progress) {
  TaskRun run{.tasks = std::move(tasks), .models = {}, .pairs = {}, .verdicts = {}};
  std::vector<OpenedModel> models;
  std::vector<std::vector<Missing>> missing;
  int64_t total = 0;
  for (const std::string& name : names) {
    models.push_back(open_model(name, study, progress));
    std::vector<Missing>& own = missing.emplace_back();
    for (const TaskData& task : run.tasks) {
      own.push_back(find_missing(task, models.back(), options.precision, study));
      total += std::ssize(own.back().questions);
    }
  }
  Counter counter(total, progress);
  counter.show();
  for (size_t m = 0; m < models.size(); ++m) {
    std::vector<Cost> costs(run.tasks.size());
    const bool all_known = std::all_of(missing[m].begin(), missing[m].end(),
                                       [](const Missing& own) { return own.questions.empty(); });
    if (!all_known) {
      LanguageModel model(std::move(models[m].checkpoint), options);
      ChoiceScorer scorer(model);
      for (size_t t = 0; t < run.tasks.size(); ++t) {
        costs[t] = ask(run.tasks[t], missing[m][t], models[m].tokenizer, model.checkpoint(), scorer,
                       study, counter);
      }
    }
    AskedModel& asked = run.models.emplace_back();
    asked.model = models[m].record;
    for (size_t t = 0; t < run.tasks.size(); ++t) {
      asked.tasks.push_back(collect(run.tasks[t], missing[m][t].record.key, costs[t], study));
    }
  }
  for (size_t t = 0; t < run.tasks.size(); ++t) {
    std::vector<std::span<const TaskAnswer>> answers;
    answers.reserve(run.models.size());
    for (const AskedModel& model : run.models) answers.emplace_back(model.tasks[t].answers);
    for (const AnswerPair& pair : compare_answers(answers, seed, options.threads)) {
      run.pairs.push_back({pair, static_cast<int>(t)});
    }
  }
  judge(run);
  return run;
}

}  // namespace ram
