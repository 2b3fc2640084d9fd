// What a report asks a study for besides numbers: texts that commands wrote, and what there is.
#include <fmt/format.h>

#include "state.h"

namespace ram {

std::optional<std::string> Study::State::document(const std::string& kind, const std::string& key) {
  Statement find(database, "SELECT text FROM document WHERE kind = ? AND key = ?");
  if (!find.bind(1, kind).bind(2, key).step()) return std::nullopt;
  std::string text = find.text(0);
  find.reset();
  return text;
}

std::vector<EvaluationKey> Study::evaluations() {
  std::vector<EvaluationKey> keys;
  if (!state_->has_evaluations()) return keys;
  Statement find(state_->database,
                 "SELECT model, precision, text, protocol FROM evaluation WHERE EXISTS (SELECT 1 "
                 "FROM evaluation_row WHERE evaluation = id) ORDER BY text, protocol, precision, "
                 "model");
  while (find.step()) {
    keys.push_back({.model = find.text(0),
                    .precision = find.text(1),
                    .text = find.text(2),
                    .protocol = find.text(3)});
  }
  return keys;
}

std::vector<DivergencePair> Study::divergences() {
  std::vector<DivergencePair> pairs;
  if (!state_->has_evaluations()) return pairs;
  Statement find(
      state_->database,
      "SELECT r.model, r.precision, r.text, r.protocol, m.model, m.precision, m.text, "
      "m.protocol FROM (SELECT DISTINCT reference, model FROM divergence_row) AS d "
      "JOIN evaluation AS r ON r.id = d.reference JOIN evaluation AS m ON m.id = d.model "
      "ORDER BY d.reference, d.model");
  while (find.step()) {
    const auto key = [&](int first) {
      return EvaluationKey{.model = find.text(first),
                           .precision = find.text(first + 1),
                           .text = find.text(first + 2),
                           .protocol = find.text(first + 3)};
    };
    pairs.push_back({.reference = key(0), .model = key(4)});
  }
  return pairs;
}

void Study::put_document(const StudyDocument& document) {
  state_->require_version(4);
  if (state_->document(document.kind, document.key) == document.text) return;
  change_document(document.kind, document.key,
                  [&](const std::string& /*text*/) { return document.text; });
}

void Study::change_document(const std::string& kind, const std::string& key,
                            const std::function<std::string(const std::string& text)>& change) {
  state_->require_version(4);
  Transaction transaction(state_->database);
  const std::optional<std::string> known = state_->document(kind, key);
  const std::string text = change(known.value_or(""));
  if (known == text) return;
  const int64_t run = state_->run_in_transaction();
  Statement insert(state_->database,
                   "INSERT OR REPLACE INTO document (kind, key, text, run) VALUES (?, ?, ?, ?)");
  insert.bind(1, kind).bind(2, key).bind(3, text).bind(4, run).run();
  state_->commit(transaction, run);
}

std::vector<StudyDocument> Study::documents(const std::string& kind) {
  std::vector<StudyDocument> found;
  if (!state_->has_tasks()) return found;
  Statement find(state_->database, "SELECT key, text FROM document WHERE kind = ? ORDER BY key");
  find.bind(1, kind);
  while (find.step()) found.push_back({.kind = kind, .key = find.text(0), .text = find.text(1)});
  return found;
}

std::vector<RunRecord> Study::runs() {
  std::vector<RunRecord> found;
  const bool machines = state_->has_machines();
  Statement find(state_->database,
                 fmt::format("SELECT program, started_ms, options{} FROM run ORDER BY id",
                             machines ? ", machine, last_write_ms" : ""));
  while (find.step()) {
    RunRecord run;
    run.program = find.text(0);
    run.started_ms = find.number(1);
    run.options = find.text(2);
    if (machines) {
      run.machine = find.text(3);
      run.last_write_ms = find.number(4);
    }
    found.push_back(std::move(run));
  }
  return found;
}

}  // namespace ram
