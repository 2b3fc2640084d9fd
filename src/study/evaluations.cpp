// What models lost on texts, row by row, and how far they lie from their reference.
#include <algorithm>
#include <cmath>
#include <cstddef>

#include "ram/error.h"
#include "ram/study_table.h"

#include "files.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

Study::Statement& bind_key(Study::Statement& statement, const EvaluationKey& key) {
  return statement.bind(key.model, key.precision, key.text, key.protocol);
}

[[noreturn]] void fail_damaged(const Study& study, std::string_view what, int64_t row) {
  fail(Code::kCorrupt, "study {}: damaged ({} of row {}); remove it to evaluate again",
       study.path().string(), what, row);
}

int64_t find_evaluation(Study& study, const EvaluationKey& key) {
  Study::Statement find(
      study,
      "SELECT id FROM evaluation WHERE model = ? AND precision = ? AND text = ? AND "
      "protocol = ?");
  if (!bind_key(find, key).step()) return 0;
  const int64_t row = find.number(0);
  find.reset();
  return row;
}

int64_t make_evaluation(Study& study, Study::Transaction& transaction, const EvaluationKey& key) {
  Study::Statement insert(
      transaction,
      "INSERT OR IGNORE INTO evaluation (model, precision, text, protocol, run) "
      "VALUES (?, ?, ?, ?, ?)");
  bind_key(insert, key).bind(transaction.run()).run();
  return find_evaluation(study, key);
}

}  // namespace

std::optional<std::string> Study::file_hash(const fs::path& file, const FileIdentity& identity) {
  if (version() < 2) return std::nullopt;
  Statement find(*this,
                 "SELECT hash FROM file_hash JOIN file ON file.id = file_hash.file WHERE path = ? "
                 "AND size = ? AND mtime_ns = ? AND ctime_ns = ? AND inode = ? AND device = ?");
  find.bind(path_key(file));
  if (!bind_identity(find, identity).step()) return std::nullopt;
  std::string hash = find.text(0);
  find.reset();
  return hash;
}

void Study::put_file_hash(const fs::path& file, const FileIdentity& identity,
                          const std::string& hash) {
  require_version(2);
  Transaction transaction(*this);
  const int64_t run = transaction.run();
  const std::string path = path_key(file);
  const int64_t row = file_row(transaction, path, identity);
  Statement forget(transaction,
                   "DELETE FROM file_hash WHERE file IN (SELECT id FROM file WHERE path = ?)");
  forget.bind(path).run();
  Statement insert(transaction, "INSERT INTO file_hash (file, hash, run) VALUES (?, ?, ?)");
  insert.bind(row, hash, run).run();
  transaction.commit();
}

void Study::put_evaluated_model(const EvaluatedModel& model) {
  for (const EvaluatedModel& known : evaluated_models()) {
    if (known == model) return;
  }
  require_version(2);
  Transaction transaction(*this);
  const int64_t run = transaction.run();
  Statement insert(transaction,
                   "INSERT OR REPLACE INTO evaluated_model "
                   "(digest, name, model_type, folder, bytes, bits_per_weight, run) "
                   "VALUES (?, ?, ?, ?, ?, ?, ?)");
  insert
      .bind(model.digest, model.name, model.model_type, model.folder, model.bytes,
            model.bits_per_weight, run)
      .run();
  transaction.commit();
}

std::vector<EvaluatedModel> Study::evaluated_models() {
  std::vector<EvaluatedModel> models;
  if (version() < 2) return models;
  Statement find(*this,
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
  if (version() < 2) return found;
  Statement find(*this, "SELECT row, tokens, nll_sum FROM evaluation_row WHERE evaluation = ?");
  find.bind(find_evaluation(*this, key));
  while (find.step()) {
    const RowScore score{.row = find.number(0), .tokens = find.number(1), .nll_sum = find.real(2)};
    if (score.tokens < 1 || !std::isfinite(score.nll_sum)) {
      fail_damaged(*this, "loss", score.row);
    }
    found.emplace(score.row, score);
  }
  return found;
}

std::map<int64_t, RowDivergence> Study::row_divergences(const EvaluationKey& reference,
                                                        const EvaluationKey& model) {
  std::map<int64_t, RowDivergence> found;
  if (version() < 2) return found;
  Statement find(*this,
                 "SELECT row, same_top1, change_sum, change_squares, kl FROM divergence_row "
                 "WHERE reference = ? AND model = ?");
  find.bind(find_evaluation(*this, reference), find_evaluation(*this, model));
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
      fail_damaged(*this, "divergence", row.row);
    }
    found.emplace(row.row, std::move(row));
  }
  return found;
}

void Study::put_rows(std::span<const EvaluatedRows> scores,
                     std::span<const DivergentRows> divergences) {
  require_version(2);
  Transaction transaction(*this);
  const int64_t run = transaction.run();
  Statement insert(transaction,
                   "INSERT OR REPLACE INTO evaluation_row (evaluation, row, tokens, nll_sum, run) "
                   "VALUES (?, ?, ?, ?, ?)");
  for (const EvaluatedRows& block : scores) {
    const int64_t evaluation = make_evaluation(*this, transaction, block.key);
    for (const RowScore& score : block.scores) {
      RAM_CHECK(std::isfinite(score.nll_sum));
      insert.bind(evaluation, score.row, score.tokens, score.nll_sum, run).run();
    }
  }
  Statement insert_divergence(
      transaction,
      "INSERT OR REPLACE INTO divergence_row "
      "(reference, model, row, same_top1, change_sum, change_squares, kl, run) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const DivergentRows& block : divergences) {
    const int64_t reference = make_evaluation(*this, transaction, block.reference);
    const int64_t model = make_evaluation(*this, transaction, block.model);
    for (const RowDivergence& row : block.rows) {
      RAM_CHECK(std::isfinite(row.change_sum) && std::isfinite(row.change_squares));
      insert_divergence
          .bind(reference, model, row.row, row.same_top1, row.change_sum, row.change_squares,
                pack_blob<float>(row.kl), run)
          .run();
    }
  }
  transaction.commit();
}

std::vector<EvaluationKey> Study::evaluations() {
  std::vector<EvaluationKey> keys;
  if (version() < 2) return keys;
  Statement find(*this,
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
  if (version() < 2) return pairs;
  Statement find(
      *this,
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

}  // namespace ram
