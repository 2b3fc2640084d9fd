#include "scored.h"

#include <system_error>

#include "ram/error.h"

namespace ram {

namespace fs = std::filesystem;

void create_folder(const fs::path& folder) {
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) fail_errno(true, "cannot create", folder.string(), failed.value());
}

PlanRequest uniform_request(AffineFormat format, DType dtype) {
  PlanRequest request;
  request.uniform = format;
  request.method = Method::kUniform;
  request.dtype = dtype;
  return request;
}

ScoredFolders score_folders(const Checkpoint& checkpoint, const std::string& model,
                            std::span<const MadeFolder> made, Study& study,
                            const ScoringRequest& request, const FitEvents& events) {
  std::vector<std::string> models = {model};
  ScoredFolders scored{.comparison = {}, .labels = {checkpoint.name}};
  for (const MadeFolder& one : made) {
    models.push_back(one.folder.string());
    scored.labels.push_back(one.label);
  }
  refuse_overlap(models, request.text, study, events);
  scored.comparison = compare_models(models, request.text, request.rows, request.seed,
                                     request.resources.engine, study, events.progress);
  // The comparison reopened the model: it must still be the one that the folders were made from.
  checkpoint.check_unchanged();
  return scored;
}

}  // namespace ram
