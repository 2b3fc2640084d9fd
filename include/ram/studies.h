// What a study keeps about each model, over all tables, and its removal.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ram/curve_table.h"
#include "ram/json.h"
#include "ram/score_table.h"
#include "ram/study.h"

namespace ram {

/// What a study keeps about a model.
struct ModelUse {
  ModelRecord model;
  std::vector<EvaluatedModel> evaluated;  ///< the model and folders made from it that were run
  int64_t plans = 0;                      ///< finished folders whose file digests are known
  int64_t kept_bytes = 0;  ///< of curves, rows and texts; those shared by models count for each
};

/// @return what is kept about each model, by name, then fingerprint.
/// @throws Error{kWriteFailed} an older study that could not be brought up to date.
std::vector<ModelUse> model_uses(Study& study);

/// @return whether a folder of that name exists; false if that cannot be determined.
bool folder_exists(const std::string& folder);

/// @return the models with their folders, as `studies --json` lists them (docs/cli.md).
nlohmann::ordered_json model_uses_json(std::span<const ModelUse> uses);

/// @return the model with that name, folder, or beginning of its fingerprint (at least six digits).
/// @param study what messages call the study.
/// @throws Error{kUsage} no model or several match.
const ModelUse& find_model_use(std::span<const ModelUse> uses, const std::string& typed,
                               const std::string& study);

/// Removes everything about these models and the folders made from them, and curves of tensors in
/// no known file; then shrinks the study's file. Curves that another model shares remain.
/// @throws Error{kWriteFailed} also: it temporarily needs as much space again.
void remove_models(Study& study, std::span<const std::string> fingerprints);

}  // namespace ram
