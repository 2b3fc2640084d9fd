// What is kept of each model, and taking it away again.
#include "ram/studies.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "ram/answer_table.h"
#include "ram/build_table.h"
#include "ram/calibration_table.h"
#include "ram/study_table.h"

namespace ram {
namespace {

constexpr int64_t kVersion = 4;  // of the schema: the first that has all tables

int64_t number(Study& study, std::string_view sql, std::string_view first) {
  Study::Statement find(study, sql);
  find.bind(first);
  return find.step() ? find.number(0) : 0;
}

constexpr std::array<std::string_view, 2> kOfFingerprint = {
    "DELETE FROM document WHERE instr(key, ?) > 0", "DELETE FROM model WHERE fingerprint = ?"};

// Of a model's folder; what lies in the folder of another model below it is that one's.
constexpr std::string_view kFilesIn =
    "(path = ?1 OR substr(path, 1, length(?1) + 1) = ?1 || '/') AND NOT EXISTS (SELECT 1 FROM "
    "model "
    "AS other WHERE substr(other.folder, 1, length(?1) + 1) = ?1 || '/' AND substr(path, 1, "
    "length(other.folder) + 1) = other.folder || '/')";

void run_with(Study::Transaction& transaction, std::string_view sql, std::string_view value) {
  Study::Statement statement(transaction, sql);
  statement.bind(value).run();
}

void exec(Study::Transaction& transaction, std::string_view sql) {
  Study::Statement(transaction, sql).run();
}

// Bytes of what grows with a model: curves, rows, texts. Keys and indexes come on top.
int64_t kept_bytes(Study& study, const ModelRecord& model, std::span<const std::string> digests) {
  int64_t bytes = number(
      study,
      fmt::format("SELECT coalesce(sum(length(part) + length(sums) + 64), 0) FROM curve WHERE "
                  "tensor_hash IN (SELECT hash FROM tensor JOIN file ON file.id = tensor.file "
                  "WHERE {})",
                  kFilesIn),
      model.folder);
  const std::string& fingerprint = model.fingerprint;
  bytes += CalibrationTextTable(study).bytes(fingerprint) + ProbeTable(study).bytes(fingerprint);
  constexpr std::string_view kDocuments =
      "SELECT coalesce(sum(length(text)), 0) FROM document WHERE instr(key, ?) > 0";
  bytes += number(study, kDocuments, fingerprint);
  for (const std::string& digest : digests) {
    bytes += number(study, kDocuments, digest);
    bytes += ScoreTable(study).bytes(digest);
    bytes += AnswerTable(study).bytes(digest);
  }
  return bytes;
}

}  // namespace

std::vector<ModelUse> model_uses(Study& study) {
  study.require_version(kVersion);
  std::vector<ModelUse> uses;
  const std::vector<EvaluatedModel> evaluated = EvaluatedModelTable(study).all();
  for (ModelRecord& model : study.models()) {
    ModelUse use;
    const std::vector<std::string> digests =
        EvaluatedModelTable(study).digests_of(model.fingerprint, model.folder);
    for (const EvaluatedModel& one : evaluated) {
      if (std::find(digests.begin(), digests.end(), one.digest) != digests.end()) {
        use.evaluated.push_back(one);
      }
    }
    use.plans = BuildTable(study).count(model.fingerprint);
    use.kept_bytes = kept_bytes(study, model, digests);
    use.model = std::move(model);
    uses.push_back(std::move(use));
  }
  return uses;
}

void remove_models(Study& study, std::span<const std::string> fingerprints) {
  study.require_version(kVersion);
  const std::vector<ModelRecord> all = study.models();
  const auto goes = [&](const ModelRecord& model) {
    return std::find(fingerprints.begin(), fingerprints.end(), model.fingerprint) !=
           fingerprints.end();
  };
  {
    Study::Transaction transaction(study);
    for (const ModelRecord& model : all) {
      if (!goes(model)) continue;
      // A changed model in the same place keeps what is known of that place.
      const bool shared = std::any_of(all.begin(), all.end(), [&](const ModelRecord& other) {
        return !goes(other) && other.folder == model.folder;
      });
      const std::string folder = shared ? "" : model.folder;
      for (const std::string& digest :
           EvaluatedModelTable(study).digests_of(model.fingerprint, folder)) {
        ScoreTable(study).remove(transaction, digest);
        AnswerTable(study).remove(transaction, digest);
        run_with(transaction, "DELETE FROM document WHERE instr(key, ?) > 0", digest);
        EvaluatedModelTable(study).remove(transaction, digest);
      }
      BuildTable(study).remove(transaction, model.fingerprint);
      CalibrationTextTable(study).remove(transaction, model.fingerprint);
      ProbeTable(study).remove(transaction, model.fingerprint);
      for (const std::string_view sql : kOfFingerprint)
        run_with(transaction, sql, model.fingerprint);
      if (shared) continue;
      // Copies of the model elsewhere go too: there is one record for all of them.
      exec(transaction, "DROP TABLE IF EXISTS temp.gone");
      exec(transaction, "CREATE TEMP TABLE gone (hash TEXT PRIMARY KEY)");
      run_with(
          transaction,
          fmt::format("INSERT OR IGNORE INTO gone SELECT hash FROM tensor JOIN file ON file.id "
                      "= tensor.file WHERE {}",
                      kFilesIn),
          folder);
      run_with(transaction, fmt::format("DELETE FROM file WHERE {}", kFilesIn), folder);
      exec(transaction,
           "DELETE FROM file WHERE id IN (SELECT file FROM tensor WHERE hash IN gone) AND NOT "
           "EXISTS (SELECT 1 FROM model WHERE substr(path, 1, length(folder) + 1) = folder || "
           "'/')");
    }
    exec(transaction, "DELETE FROM curve WHERE tensor_hash NOT IN (SELECT hash FROM tensor)");
    transaction.commit();
  }
  study.shrink();
}

}  // namespace ram
