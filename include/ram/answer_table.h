// Models' answers to multiple-choice questions, as a study keeps them. docs/formats/study.md
// describes every column. Part of the module `eval`, whose statistics (answers.h) read them;
// `tasks` writes them.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ram/study_table.h"

namespace ram {

/// Everything that the answers to a task's questions depend on besides the question.
struct TaskKey {
  std::string model;      ///< EvaluatedModel::digest
  std::string precision;  ///< "f32" or "bf16"
  std::string task;       ///< "arc_challenge"
  std::string data;       ///< digest of the files that questions and examples come from
  std::string protocol;   ///< how questions become prompts, and the rule by which they are scored
  auto operator<=>(const TaskKey&) const = default;
};

/// A task whose questions, or some of them, a model was asked.
struct TaskRecord {
  TaskKey key;
  std::string metric;     ///< "acc" or "acc_norm": how `choice` was made
  int64_t questions = 0;  ///< in the data, asked or not
  bool operator==(const TaskRecord&) const = default;
};

/// A model's answer to one question.
struct TaskAnswer {
  int64_t question = 0;  ///< index in the data
  std::string group;     ///< the subject; empty if the task has none
  int64_t answer = 0;    ///< the right choice
  int64_t choice = 0;    ///< the model's
  int64_t cut = 0;       ///< tokens removed from the longest prompt to fit the model's context
  std::vector<double> log_likelihoods;  ///< per choice, nats
  bool operator==(const TaskAnswer&) const = default;
};

/// Tables `task` and `task_answer`.
class AnswerTable {
 public:
  /// @param study outlives the object.
  explicit AnswerTable(Study& study) : study_(study) {}

  /// The tasks that models were asked, by task, then model.
  std::vector<TaskRecord> tasks();
  /// The answers that are known, by question. @throws Error{kCorrupt} damaged.
  std::map<int64_t, TaskAnswer> answers(const TaskKey& key);
  /// Keeps some answers: all of them or, on failure, none. Existing answers are replaced.
  /// @pre log-likelihoods are finite, answer and choice among them.
  /// @throws Error{kWriteFailed} as Study::Transaction, or an older study.
  void put(const TaskRecord& task, std::span<const TaskAnswer> answers);

  /// @return about the bytes of a model's answers.
  int64_t bytes(const std::string& digest);
  void remove(Study::Transaction& transaction, const std::string& digest);

 private:
  Study& study_;
};

}  // namespace ram
