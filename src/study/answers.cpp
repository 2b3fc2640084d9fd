// What models answered to a task's questions.
#include <cmath>
#include <cstddef>

#include "ram/error.h"

#include "blob.h"
#include "state.h"

namespace ram {
namespace {

bool is_sound(const TaskAnswer& answer) {
  const auto choices = static_cast<int64_t>(answer.log_likelihoods.size());
  for (const double value : answer.log_likelihoods) {
    if (!std::isfinite(value)) return false;
  }
  return answer.cut >= 0 && answer.answer >= 0 && answer.answer < choices && answer.choice >= 0 &&
         answer.choice < choices;
}

Statement& bind_key(Statement& statement, const TaskKey& key) {
  return statement.bind(1, key.model)
      .bind(2, key.precision)
      .bind(3, key.task)
      .bind(4, key.data)
      .bind(5, key.protocol);
}

int64_t find_task(Database& database, const TaskKey& key) {
  Statement find(database,
                 "SELECT id FROM task WHERE model = ? AND precision = ? AND task = ? AND data = ? "
                 "AND protocol = ?");
  if (!bind_key(find, key).step()) return 0;
  const int64_t row = find.number(0);
  find.reset();
  return row;
}

}  // namespace

std::vector<TaskRecord> Study::tasks() {
  std::vector<TaskRecord> records;
  if (!state_->has_tasks()) return records;
  Statement find(state_->database,
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

std::map<int64_t, TaskAnswer> Study::answers(const TaskKey& key) {
  std::map<int64_t, TaskAnswer> found;
  if (!state_->has_tasks()) return found;
  Statement find(state_->database,
                 "SELECT question, subject, answer, choice, cut, log_likelihoods FROM task_answer "
                 "WHERE task = ?");
  find.bind(1, find_task(state_->database, key));
  while (find.step()) {
    TaskAnswer answer{.question = find.number(0),
                      .group = find.text(1),
                      .answer = find.number(2),
                      .choice = find.number(3),
                      .cut = find.number(4),
                      .log_likelihoods = unpack_blob<double>(find.blob(5))};
    if (find.blob(5).size() % sizeof(double) != 0 || !is_sound(answer)) {
      fail(Code::kCorrupt, "study {}: damaged (question {} of {}); remove it to ask again",
           state_->database.path().string(), answer.question, key.task);
    }
    found.emplace(answer.question, std::move(answer));
  }
  return found;
}

void Study::put_answers(const TaskRecord& task, std::span<const TaskAnswer> answers) {
  state_->require_version(4);
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  Statement insert_task(state_->database,
                        "INSERT OR IGNORE INTO task "
                        "(model, precision, task, data, protocol, metric, questions, run) "
                        "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  bind_key(insert_task, task.key).bind(6, task.metric).bind(7, task.questions).bind(8, run).run();
  const int64_t row = find_task(state_->database, task.key);
  Statement insert(state_->database,
                   "INSERT OR REPLACE INTO task_answer "
                   "(task, question, subject, answer, choice, cut, log_likelihoods, run) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const TaskAnswer& answer : answers) {
    RAM_CHECK(is_sound(answer));
    insert.bind(1, row)
        .bind(2, answer.question)
        .bind(3, answer.group)
        .bind(4, answer.answer)
        .bind(5, answer.choice)
        .bind(6, answer.cut)
        .bind(7, std::span<const std::byte>(pack_blob<double>(answer.log_likelihoods)))
        .bind(8, run)
        .run();
  }
  state_->commit(transaction, run);
}

}  // namespace ram
