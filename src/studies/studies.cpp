// What a study keeps of each model, and how it is removed.
#include "ram/studies.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ram/answer_table.h"
#include "ram/build_table.h"
#include "ram/calibration_table.h"
#include "ram/curve_table.h"
#include "ram/error.h"
#include "ram/score_table.h"
#include "ram/study_table.h"
#include "ram/suggest.h"

namespace ram {
namespace {

constexpr int64_t kVersion = 4;  // of the schema: the first that has all tables

// Bytes of the data that grows with a model: curves, rows, texts. Keys and indexes are not
// included.
int64_t kept_bytes(Study& study, const ModelRecord& model, std::span<const std::string> digests) {
  const std::string& fingerprint = model.fingerprint;
  int64_t bytes = CurveTable(study).bytes(model.folder);
  bytes += CalibrationTextTable(study).bytes(fingerprint) + ProbeTable(study).bytes(fingerprint);
  bytes += study.document_bytes(fingerprint);
  for (const std::string& digest : digests) {
    bytes += ScoreTable(study).bytes(digest) + AnswerTable(study).bytes(digest);
    bytes += study.document_bytes(digest);
  }
  return bytes;
}

// Removes everything stored under a model's fingerprint and the digests of its folders.
void remove_model(Study& study, Study::Transaction& transaction, const std::string& fingerprint,
                  std::span<const std::string> digests) {
  for (const std::string& digest : digests) {
    ScoreTable(study).remove(transaction, digest);
    AnswerTable(study).remove(transaction, digest);
    study.remove_documents(transaction, digest);
    EvaluatedModelTable(study).remove(transaction, digest);
  }
  BuildTable(study).remove(transaction, fingerprint);
  CalibrationTextTable(study).remove(transaction, fingerprint);
  ProbeTable(study).remove(transaction, fingerprint);
  study.remove_documents(transaction, fingerprint);
  ModelTable(study).remove(transaction, fingerprint);
}

}  // namespace

std::vector<ModelUse> model_uses(Study& study) {
  study.require_version(kVersion);
  std::vector<ModelUse> uses;
  const std::vector<EvaluatedModel> evaluated = EvaluatedModelTable(study).all();
  for (ModelRecord& model : ModelTable(study).all()) {
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

bool folder_exists(const std::string& folder) {
  std::error_code ignored;
  return std::filesystem::is_directory(folder, ignored);
}

nlohmann::ordered_json model_uses_json(std::span<const ModelUse> uses) {
  using Json = nlohmann::ordered_json;
  Json models = Json::array();
  for (const ModelUse& use : uses) {
    Json folders = Json::array();
    for (const EvaluatedModel& one : use.evaluated) {
      folders.push_back({{"name", one.name},
                         {"folder", one.folder},
                         {"there", folder_exists(one.folder)},
                         {"bytes", one.bytes},
                         {"bits_per_weight", one.bits_per_weight}});
    }
    models.push_back({{"name", use.model.name},
                      {"fingerprint", use.model.fingerprint},
                      {"model_type", use.model.model_type},
                      {"folder", use.model.folder},
                      {"there", folder_exists(use.model.folder)},
                      {"weights", use.model.weights},
                      {"bytes", use.model.bytes},
                      {"kept_bytes", use.kept_bytes},
                      {"plans", use.plans},
                      {"folders", std::move(folders)}});
  }
  return models;
}

void remove_models(Study& study, std::span<const std::string> fingerprints) {
  study.require_version(kVersion);
  const std::vector<ModelRecord> all = ModelTable(study).all();
  const auto goes = [&](const ModelRecord& model) {
    return std::find(fingerprints.begin(), fingerprints.end(), model.fingerprint) !=
           fingerprints.end();
  };
  {
    Study::Transaction transaction(study);
    CurveTable curves(study);
    for (const ModelRecord& model : all) {
      if (!goes(model)) continue;
      // If another version of the model in the same folder stays, the folder's records stay too.
      const bool shared = std::any_of(all.begin(), all.end(), [&](const ModelRecord& other) {
        return !goes(other) && other.folder == model.folder;
      });
      const std::string folder = shared ? "" : model.folder;
      remove_model(study, transaction, model.fingerprint,
                   EvaluatedModelTable(study).digests_of(model.fingerprint, folder));
      // Copies of the model elsewhere are removed too: there is one record for all of them.
      if (!shared) curves.remove_files(transaction, folder);
    }
    curves.remove_unused(transaction);
    transaction.commit();
  }
  study.shrink();
}

const ModelUse& find_model_use(std::span<const ModelUse> uses, const std::string& typed,
                               const std::string& study) {
  constexpr size_t kLeastDigits = 6;
  std::vector<const ModelUse*> found;
  std::vector<std::string> names;
  std::error_code ignored;
  std::filesystem::path folder = std::filesystem::absolute(typed, ignored).lexically_normal();
  if (!folder.has_filename()) folder = folder.parent_path();
  for (const ModelUse& use : uses) {
    const bool digits = typed.size() >= kLeastDigits && use.model.fingerprint.starts_with(typed);
    if (use.model.name == typed || digits || use.model.folder == folder.string()) {
      found.push_back(&use);
    }
    names.push_back(use.model.name);
  }
  if (found.empty()) {
    fail(Code::kUsage, "{}: the study {} has no such model{} (ram studies lists them)", typed,
         study, did_you_mean(typed, names));
  }
  if (found.size() > 1) {
    std::vector<std::string> fingerprints;
    fingerprints.reserve(found.size());
    for (const ModelUse* use : found) fingerprints.push_back(use->model.fingerprint);
    fail(Code::kUsage, "{}: {} models have this name; give a fingerprint: {}", typed, found.size(),
         fmt::join(fingerprints, ", "));
  }
  return *found.front();
}

}  // namespace ram
