// Multiple-choice tasks: ARC-Challenge, Winogrande, HellaSwag, MMLU and users' own, asked and
// scored as lm-evaluation-harness 0.4.11 does, kept in the study question by question, and the
// comparison of models on them. The rules are in docs/evaluation.md; the statistics in
// statistics.h.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/answers.h"
#include "ram/engine.h"
#include "ram/progress.h"
#include "ram/score_table.h"
#include "ram/statistics.h"
#include "ram/study.h"
#include "ram/tokenizer.h"

namespace ram {

/// A task of the table (src/tasks/table.cpp).
struct TaskInfo {
  std::string_view name;    ///< "arc_challenge"
  std::string_view title;   ///< "ARC-Challenge"
  std::string_view metric;  ///< "acc": the likeliest choice; "acc_norm": likeliest per character
  int64_t examples = 0;     ///< number of answered questions before each question
  bool own_file = false;    ///< read from the user's file, not from a folder
};
std::span<const TaskInfo> known_tasks();

/// One question, as text.
struct TaskQuestion {
  int64_t index = 0;   ///< in the data
  std::string id;      ///< the data's id for it, else the index
  std::string group;   ///< the subject; empty if the task has none
  std::string shared;  ///< description and examples: the text before the question
  /// The text between `shared` and the continuations: one for all, or one for each choice.
  std::vector<std::string> contexts;
  std::vector<std::string> continuations;  ///< scored by likelihood: one per choice
  std::vector<std::string> choices;        ///< whose lengths acc_norm divides by
  int64_t answer = 0;
};

struct TaskOptions {
  std::optional<int64_t> limit = {};  ///< the most questions that are drawn; nothing: all
  uint32_t seed = 42;                 ///< of that draw (draw_rows)
  /// Memory for the data, unpacked and as questions with their examples; 0: an eighth of the
  /// machine's.
  int64_t memory_bytes = 0;
};

/// A task's questions.
struct TaskData {
  TaskInfo info;
  std::string digest = {};           ///< of the contents of the files
  std::string examples_from = {};    ///< file of the examples; empty if there are none
  bool examples_from_asked = false;  ///< no training split: the examples are other questions
  int64_t total = 0;                 ///< questions in the data
  std::vector<TaskQuestion> questions = {};  ///< those to be asked, by index
  int64_t bytes = 0;                         ///< approximate memory of the questions
};

/// Reads a task's questions and draws their examples: a question has the same examples as in a full
/// run, whatever the limit.
/// @param name one of known_tasks. @param path the folder with the data (<task>_<split>.jsonl or
///        .jsonl.gz), or the file, for own_file.
/// @throws Error{kUsage} an unknown task, a limit below 1, more data than memory; {kMissing} no
///         such file, with the command that makes it (from parquet files if they exist); {kCorrupt}
///         a line that is not JSON, lacks a field or has a wrong one (names file and line), no
///         question, fewer documents than examples.
TaskData load_task(std::string_view name, const std::filesystem::path& path,
                   const TaskOptions& options);

/// A question's choices as tokens.
struct PromptTokens {
  /// Per choice: all tokens, beginning with the special ones of the tokenizer's template, truncated
  /// on the left to context + 1.
  std::vector<TokenRow> rows;
  std::vector<int64_t> scored;  ///< per choice: how many of the last tokens are the continuation
  int64_t shared = 0;           ///< leading tokens from TaskQuestion::shared alone
  int64_t cut = 0;              ///< tokens removed from the longest row

  /// Tokens to run through the model if each choice were scored separately.
  int64_t naive_tokens() const;
};

/// @param context the most tokens the model takes.
/// @throws Error{kUnsupported} a continuation longer than that, or without tokens (names the
///         question).
PromptTokens tokenize_question(const TaskQuestion& question, const Tokenizer& tokenizer,
                               int64_t context);

/// Scores the choices of questions with one model, reusing the tokens that consecutive questions
/// share. A result depends on model and question alone, not on earlier questions.
class ChoiceScorer {
 public:
  /// @param model must outlive this.
  explicit ChoiceScorer(LanguageModel& model);

  /// @return the log-likelihood of each choice.
  /// @throws as Decoder::score; Error{kUsage} one of the rows does not fit in the model's memory.
  std::vector<double> log_likelihoods(const PromptTokens& prompt);
  /// Tokens run through the model so far.
  int64_t tokens() const { return tokens_; }

 private:
  std::vector<double> score(const TokenRow& prefix, int64_t shared,
                            std::span<const Continuation> continuations);

  LanguageModel& model_;
  Decoder decoder_;
  int64_t longest_ = 0;  ///< longest row for which memory was checked
  TokenRow held_;        ///< the shared tokens that the decoder holds
  int64_t tokens_ = 0;
};

/// One model's answers to one task.
struct TaskOutcome {
  AnswerSummary summary;
  std::vector<TaskAnswer> answers;  ///< as TaskData::questions
  // Of the questions that were not already known:
  int64_t asked = 0;
  int64_t naive_tokens = 0;
  int64_t tokens = 0;
  double seconds = 0;
};

/// Two models (0: the reference, i: the i-th model) on one task.
struct TaskPair : AnswerPair {
  int task = 0;
};

struct AskedModel {
  EvaluatedModel model;
  std::vector<TaskOutcome> tasks;  ///< as TaskRun::tasks
};

struct TaskRun {
  std::vector<TaskData> tasks;
  std::vector<AskedModel> models;  ///< the reference first
  std::vector<TaskPair> pairs;     ///< all pairs of all tasks, p_holm over all of them
  /// Per task; nothing with one model.
  std::vector<std::optional<LadderVerdict>> verdicts;
};

/// Asks models all questions of the tasks. Answers in the study are not computed again; new ones
/// are kept every few seconds.
/// @param names of the models: folders or repository ids. @param seed of the bootstrap.
/// @param progress phases "hash" (bytes) and "ask" (questions).
/// @throws what load_task, open_model, tokenize_question and LanguageModel throw; {kInterrupted}:
///         answers so far are kept.
TaskRun run_tasks(std::span<const std::string> names, std::vector<TaskData> tasks, uint64_t seed,
                  const EngineOptions& options, Study& study, const ProgressFn& progress = {});

/// The key of a model's answers to a task. @param context as tokenize_question's.
TaskKey task_key(const EvaluatedModel& model, Precision precision, const TaskData& task,
                 int64_t context);

}  // namespace ram
