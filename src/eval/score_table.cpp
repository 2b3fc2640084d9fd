// The tables of evaluated folders, of losses and of divergences.
#include "ram/score_table.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string_view>
#include <utility>

#include "ram/error.h"

namespace ram {
namespace {

constexpr int64_t kScoresVersion = 2;  // of the schema: the first with these tables
constexpr int64_t kPlansVersion = 4;   // the first that stores plans of folders as documents

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

void EvaluatedModelTable::put(const EvaluatedModel& model) {
  for (const EvaluatedModel& known : all()) {
    if (known == model) return;
  }
  study_.require_version(kScoresVersion);
  Study::Transaction transaction(study_);
  const int64_t run = transaction.run();
  Study::Statement insert(transaction,
                          "INSERT OR REPLACE INTO evaluated_model "
                          "(digest, name, model_type, folder, bytes, bits_per_weight, run) "
                          "VALUES (?, ?, ?, ?, ?, ?, ?)");
  insert
      .bind(model.digest, model.name, model.model_type, model.folder, model.bytes,
            model.bits_per_weight, run)
      .run();
  transaction.commit();
}

std::vector<EvaluatedModel> EvaluatedModelTable::all() {
  std::vector<EvaluatedModel> models;
  if (study_.version() < kScoresVersion) return models;
  Study::Statement find(study_,
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

std::vector<std::string> EvaluatedModelTable::digests_of(const std::string& fingerprint,
                                                         const std::string& folder) {
  std::vector<std::string> digests;
  if (study_.version() < kPlansVersion) return digests;
  Study::Statement find(
      study_,
      "SELECT digest FROM evaluated_model WHERE folder = ? OR digest IN (SELECT key FROM document "
      "WHERE kind = 'plan' AND json_valid(text) AND json_extract(text, '$.model.fingerprint') = "
      "?)");
  find.bind(folder, fingerprint);
  while (find.step()) digests.push_back(find.text(0));
  return digests;
}

void EvaluatedModelTable::remove(Study::Transaction& transaction, const std::string& digest) {
  Study::Statement(transaction, "DELETE FROM evaluated_model WHERE digest = ?").bind(digest).run();
}

std::map<int64_t, RowScore> ScoreTable::scores(const EvaluationKey& key) {
  std::map<int64_t, RowScore> found;
  if (study_.version() < kScoresVersion) return found;
  Study::Statement find(study_,
                        "SELECT row, tokens, nll_sum FROM evaluation_row WHERE evaluation = ?");
  find.bind(find_evaluation(study_, key));
  while (find.step()) {
    const RowScore score{.row = find.number(0), .tokens = find.number(1), .nll_sum = find.real(2)};
    if (score.tokens < 1 || !std::isfinite(score.nll_sum)) {
      fail_damaged(study_, "loss", score.row);
    }
    found.emplace(score.row, score);
  }
  return found;
}

std::map<int64_t, RowDivergence> ScoreTable::divergences(const EvaluationKey& reference,
                                                         const EvaluationKey& model) {
  std::map<int64_t, RowDivergence> found;
  if (study_.version() < kScoresVersion) return found;
  Study::Statement find(study_,
                        "SELECT row, same_top1, change_sum, change_squares, kl FROM divergence_row "
                        "WHERE reference = ? AND model = ?");
  find.bind(find_evaluation(study_, reference), find_evaluation(study_, model));
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
      fail_damaged(study_, "divergence", row.row);
    }
    found.emplace(row.row, std::move(row));
  }
  return found;
}

void ScoreTable::put(std::span<const EvaluatedRows> scores,
                     std::span<const DivergentRows> divergences) {
  study_.require_version(kScoresVersion);
  Study::Transaction transaction(study_);
  const int64_t run = transaction.run();
  Study::Statement insert(
      transaction,
      "INSERT OR REPLACE INTO evaluation_row (evaluation, row, tokens, nll_sum, run) "
      "VALUES (?, ?, ?, ?, ?)");
  for (const EvaluatedRows& block : scores) {
    const int64_t evaluation = make_evaluation(study_, transaction, block.key);
    for (const RowScore& score : block.scores) {
      RAM_CHECK(std::isfinite(score.nll_sum));
      insert.bind(evaluation, score.row, score.tokens, score.nll_sum, run).run();
    }
  }
  Study::Statement insert_divergence(
      transaction,
      "INSERT OR REPLACE INTO divergence_row "
      "(reference, model, row, same_top1, change_sum, change_squares, kl, run) "
      "VALUES (?, ?, ?, ?, ?, ?, ?, ?)");
  for (const DivergentRows& block : divergences) {
    const int64_t reference = make_evaluation(study_, transaction, block.reference);
    const int64_t model = make_evaluation(study_, transaction, block.model);
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

std::vector<EvaluationKey> ScoreTable::evaluations() {
  std::vector<EvaluationKey> keys;
  if (study_.version() < kScoresVersion) return keys;
  Study::Statement find(
      study_,
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

std::vector<DivergencePair> ScoreTable::pairs() {
  std::vector<DivergencePair> pairs;
  if (study_.version() < kScoresVersion) return pairs;
  Study::Statement find(
      study_,
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

int64_t ScoreTable::bytes(const std::string& digest) {
  if (study_.version() < kScoresVersion) return 0;
  Study::Statement find(study_,
                        "SELECT coalesce(sum(length(kl) + 40), 0) FROM divergence_row AS d JOIN "
                        "evaluation AS e ON e.id = d.model WHERE e.model = ?");
  return find.bind(digest).step() ? find.number(0) : 0;
}

void ScoreTable::remove(Study::Transaction& transaction, const std::string& digest) {
  Study::Statement(transaction, "DELETE FROM evaluation WHERE model = ?").bind(digest).run();
}

}  // namespace ram
