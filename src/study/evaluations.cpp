// What models lost on texts, row by row, and how far they lie from their reference.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "ram/error.h"

#include "blob.h"
#include "state.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

Statement& bind_key(Statement& statement, const EvaluationKey& key) {
  return statement.bind(1, key.model)
      .bind(2, key.precision)
      .bind(3, key.text)
      .bind(4, key.protocol);
}

[[noreturn]] void fail_damaged(const Database& database, std::string_view what, int64_t row) {
  fail(Code::kCorrupt, "study {}: damaged ({} of row {}); remove it to evaluate again",
       database.path().string(), what, row);
}

}  // namespace

int64_t Study::State::find_evaluation(const EvaluationKey& key) {
  Statement find(database,
                 "SELECT id FROM evaluation WHERE model = ? AND precision = ? AND text = ? AND "
                 "protocol = ?");
  if (!bind_key(find, key).step()) return 0;
  const int64_t row = find.number(0);
  find.reset();
  return row;
}

int64_t Study::State::make_evaluation(const EvaluationKey& key, int64_t run_row) {
  Statement insert(database,
                   "INSERT OR IGNORE INTO evaluation (model, precision, text, protocol, run) "
                   "VALUES (?, ?, ?, ?, ?)");
  bind_key(insert, key).bind(5, run_row).run();
  return find_evaluation(key);
}

void Study::State::require_version(int64_t least) const {
  if (version >= least) return;
  fail(Code::kWriteFailed,
       "study {}: made by an earlier version and cannot be written, so that it cannot be brought "
       "up to date; name another place with --study",
       database.path().string());
}

std::optional<std::string> Study::file_hash(const fs::path& file, const FileIdentity& identity) {
  if (!state_->has_evaluations()) return std::nullopt;
  Statement find(state_->database,
                 "SELECT hash FROM file_hash JOIN file ON file.id = file_hash.file WHERE path = ? "
                 "AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ? AND device = ?");
  find.bind(1, path_key(file));
  if (!bind_identity(find, 2, identity).step()) return std::nullopt;
  std::string hash = find.text(0);
  find.reset();
  return hash;
}

void Study::put_file_hash(const fs::path& file, const FileIdentity& identity,
                          const std::string& hash) {
  state_->require_version(2);
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  const std::string path = path_key(file);
  const int64_t row = state_->file_row(path, identity);
  Statement forget(state_->database,
                   "DELETE FROM file_hash WHERE file IN (SELECT id FROM file WHERE path = ?)");
  forget.bind(1, path).run();
  Statement insert(state_->database, "INSERT INTO file_hash (file, hash, run) VALUES (?, ?, ?)");
  insert.bind(1, row).bind(2, hash).bind(3, run).run();
  state_->commit(transaction, run);
}

void Study::put_evaluated_model(const EvaluatedModel& model) {
  for (const EvaluatedModel& known : evaluated_models()) {
    if (known == model) return;
  }
  state_->require_version(2);
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  Statement insert(state_->database,
                   "INSERT OR REPLACE INTO evaluated_model "
                   "(digest, name, model_type, folder, bytes, bits_per_weight, run) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?)");
  insert.bind(1, model.digest)
      .bind(2, model.name)
      .bind(3, model.model_type)
      .bind(4, model.folder)
      .bind(5, model.bytes)
      .bind(6, model.bits_per_weight)
      .bind(7, run)
      .run();
  state_->commit(transaction, run);
}

std::vector<EvaluatedModel> Study::evaluated_models() {
  std::vector<EvaluatedModel> models;
  if (!state_->has_evaluations()) return models;
  Statement find(state_->database,
                 "SELECT digest, name, model_type, folder, bytes, bits_per_weight "
                 "FROM evaluated_model ORDER BY name, digest");
  while (find.step()) {
    models.push_back({.digest = find.text(0),
                      .name = find.text(1),
                      .model_type = find.text(2),
                      .folder = find.text(3),
                      .bytes = find.number(4),
                      .bits_per_weight = find.real(5)});
  }
  return models;
}

std::map<int64_t, RowScore> Study::row_scores(const EvaluationKey& key) {
  std::map<int64_t, RowScore> found;
  if (!state_->has_evaluations()) return found;
  Statement find(state_->database,
                 "SELECT row, tokens, nll_sum FROM evaluation_row WHERE evaluation = ?");
  find.bind(1, state_->find_evaluation(key));
  while (find.step()) {
    const RowScore score{.row = find.number(0), .tokens = find.number(1), .nll_sum = find.real(2)};
    if (score.tokens < 1 || !std::isfinite(score.nll_sum)) {
      fail_damaged(state_->database, "loss", score.row);
    }
    found.emplace(score.row, score);
  }
  return found;
}

std::map<int64_t, RowDivergence> Study::row_divergences(const EvaluationKey& reference,
                                                        const EvaluationKey& model) {
  std::map<int64_t, RowDivergence> found;
  if (!state_->has_evaluations()) return found;
  Statement find(state_->database,
                 "SELECT row, same_top1, change_sum, change_squares, kl FROM divergence_row "
                 "WHERE reference = ? AND model = ?");
  find.bind(1, state_->find_evaluation(reference)).bind(2, state_->find_evaluation(model));
  while (find.step()) {
    RowDivergence row{.row = find.number(0),
                      .same_top1 = find.number(1),
                      .change_sum = find.real(2),
                      .change_squares = find.real(3),
                      .kl = unpack_blob<float>(find.blob(4))};
    const auto tokens = static_cast<int64_t>(row.kl.size());
    const bool finite =
        std::isfinite(row.change_sum) && std::isfinite(row.change_squares) &&
        std::all_of(row.kl.begin(), row.kl.end(), [](float kl) { return std::isfinite(kl); });
    if (find.blob(4).size() % sizeof(float) != 0 || row.same_top1 < 0 || row.same_top1 > tokens ||
        !finite) {
      fail_damaged(state_->database, "divergence", row.row);
    }
    found.emplace(row.row, std::move(row));
  }
  return found;
}

void Study::put_rows(std::span<const EvaluatedRows> scores,
                     std::span<const DivergentRows> divergences) {
  state_->require_version(2);
  Transaction transaction(state_->database);
  const int64_t run = state_->run_in_transaction();
  Statement insert(state_->database,
                   "INSERT OR REPLACE INTO evaluation_row (evaluation, row, tokens, nll_sum, run) "
                   "VALUES (?, ?, ?, ?, ?)");
  for (const EvaluatedRows& block : scores) {
    const int64_t evaluation = state_->make_evaluation(block.key, run);
    for (const RowScore& score : block.scores) {
      RAM_CHECK(std::isfinite(score.nll_sum));
      insert.bind(1, evaluation)
          .bind(2, score.row)
          .bind(3, score.tokens)
          .bind(4, score.nll_sum)
          .bind(5, run)
          .run();
    }
  }
  Statement insert_divergence(
      state_->database,
      "INSERT OR REPLACE INTO divergence_row "
      "(reference, model, row, same_top1, change_sum, change_squares, kl, run) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const DivergentRows& block : divergences) {
    const int64_t reference = state_->make_evaluation(block.reference, run);
    const int64_t model = state_->make_evaluation(block.model, run);
    for (const RowDivergence& row : block.rows) {
      RAM_CHECK(std::isfinite(row.change_sum) && std::isfinite(row.change_squares));
      insert_divergence.bind(1, reference)
          .bind(2, model)
          .bind(3, row.row)
          .bind(4, row.same_top1)
          .bind(5, row.change_sum)
          .bind(6, row.change_squares)
          .bind(7, std::span<const std::byte>(pack_blob<float>(row.kl)))
          .bind(8, run)
          .run();
    }
  }
  state_->commit(transaction, run);
}

}  // namespace ram
