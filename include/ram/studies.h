// What a study keeps of each model, over all tables, and taking it away again.
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

/// What a study keeps of a model.
struct ModelUse {
  ModelRecord model;
  std::vector<EvaluatedModel> evaluated;  ///< the model and folders made from it, as they were run
  int64_t plans = 0;                      ///< finished folders whose bytes are known
  int64_t kept_bytes = 0;  ///< of curves, rows and texts; what another model shares counts for both
};

/// @return what is kept of each model, by name, then fingerprint.
/// @throws Error{kWriteFailed} an older study that could not be brought up to date.
std::vector<ModelUse> model_uses(Study& study);

/// @return whether a folder of that name is there; where it cannot be looked at, no.
bool folder_exists(const std::string& folder);

/// @return the models with their folders, as `studies --json` lists them (docs/cli.md).
nlohmann::ordered_json model_uses_json(std::span<const ModelUse> uses);

/// @return the model that was named: by its name, its folder, or six digits and more of its
///         fingerprint.
/// @param study what messages call the study.
/// @throws Error{kUsage} there is none of that name, or several.
const ModelUse& find_model_use(std::span<const ModelUse> uses, const std::string& typed,
                               const std::string& study);

/// Removes all that is kept of these models and of folders made from them, and curves that no known
/// file has; then gives the room back to the file system: the file shrinks. Curves that another
/// model shares stay.
/// @throws Error{kWriteFailed} also: it needs as much room again for a moment.
void remove_models(Study& study, std::span<const std::string> fingerprints);

}  // namespace ram
