// The tables of answers.
#include "ram/answer_table.h"

#include <cmath>
#include <cstddef>

#include "ram/error.h"

namespace ram {
namespace {

constexpr int64_t kAnswersVersion = 4;  // of the schema: the first with these tables

bool is_sound(const TaskAnswer& answer) {
  const auto choices = static_cast<int64_t>(answer.log_likelihoods.size());
  for (const double value : answer.log_likelihoods) {
    if (!std::isfinite(value)) return false;
  }
  return answer.cut >= 0 && answer.answer >= 0 && answer.answer < choices && answer.choice >= 0 &&
         answer.choice < choices;
}

Study::Statement& bind_key(Study::Statement& statement, const TaskKey& key) {
  return statement.bind(key.model, key.precision, key.task, key.data, key.protocol);
}

int64_t find_task(Study& study, const TaskKey& key) {
  Study::Statement find(
      study,
      "SELECT id FROM task WHERE model = ? AND precision = ? AND task = ? AND data = ? "
      "AND protocol = ?");
  if (!bind_key(find, key).step()) return 0;
  const int64_t row = find.number(0);
  find.reset();
  return row;
}

}  // namespace

std::vector<TaskRecord> AnswerTable::tasks() {
  std::vector<TaskRecord> records;
  if (study_.version() < kAnswersVersion) return records;
  Study::Statement find(
      study_,
      "SELECT model, precision, task, data, protocol, metric, questions FROM task "
      "ORDER BY task, data, protocol, model, precision");
  while (find.step()) {
    records.push_back({.key = {.model = find.text(0),
                               .precision = find.text(1),
                               .task = find.text(2),
                               .data = find.text(3),
                               .protocol = find.text(4)},
                       .metric = find.text(5),
                       .questions = find.number(6)});
  }
  return records;
}

std::map<int64_t, TaskAnswer> AnswerTable::answers(const TaskKey& key) {
  std::map<int64_t, TaskAnswer> found;
  if (study_.version() < kAnswersVersion) return found;
  Study::Statement find(
      study_,
      "SELECT question, subject, answer, choice, cut, log_likelihoods FROM task_answer "
      "WHERE task = ?");
  find.bind(find_task(study_, key));
  while (find.step()) {
    TaskAnswer answer{.question = find.number(0),
                      .group = find.text(1),
                      .answer = find.number(2),
                      .choice = find.number(3),
                      .cut = find.number(4),
                      .log_likelihoods = unpack_blob<double>(find.blob(5))};
    if (find.blob(5).size() % sizeof(double) != 0 || !is_sound(answer)) {
      fail(Code::kCorrupt, "study {}: damaged (question {} of {}); remove it to ask again",
           study_.path().string(), answer.question, key.task);
    }
    found.emplace(answer.question, std::move(answer));
  }
  return found;
}

void AnswerTable::put(const TaskRecord& task, std::span<const TaskAnswer> answers) {
  study_.require_version(kAnswersVersion);
  Study::Transaction transaction(study_);
  const int64_t run = transaction.run();
  Study::Statement insert_task(transaction,
                               "INSERT OR IGNORE INTO task "
                               "(model, precision, task, data, protocol, metric, questions, run) "
                               "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  bind_key(insert_task, task.key).bind(task.metric, task.questions, run).run();
  const int64_t row = find_task(study_, task.key);
  Study::Statement insert(transaction,
                          "INSERT OR REPLACE INTO task_answer "
                          "(task, question, subject, answer, choice, cut, log_likelihoods, run) "
                          "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const TaskAnswer& answer : answers) {
    RAM_CHECK(is_sound(answer));
    insert
        .bind(row, answer.question, answer.group, answer.answer, answer.choice, answer.cut,
              pack_blob<double>(answer.log_likelihoods), run)
        .run();
  }
  transaction.commit();
}

int64_t AnswerTable::bytes(const std::string& digest) {
  if (study_.version() < kAnswersVersion) return 0;
  Study::Statement find(study_,
                        "SELECT coalesce(sum(length(log_likelihoods) + 40), 0) FROM task_answer AS "
                        "a JOIN task ON task.id = a.task WHERE task.model = ?");
  return find.bind(digest).step() ? find.number(0) : 0;
}

void AnswerTable::remove(Study::Transaction& transaction, const std::string& digest) {
  Study::Statement(transaction, "DELETE FROM task WHERE model = ?").bind(digest).run();
}

}  // namespace ram
