// Shared by the experiments: folders are made, then compared with their original.
#pragma once

#include <filesystem>
#include <span>
#include <string>

#include "ram/experiments.h"
#include "ram/quant.h"

namespace ram {

/// A folder that was made.
struct MadeFolder {
  std::string label;  ///< its last name
  std::filesystem::path folder;
};

/// Creates the folder into which an experiment writes. @throws Error{kWriteFailed}
void create_folder(const std::filesystem::path& folder);

/// @return the request that does what mlx_lm.convert -q does with one format.
PlanRequest uniform_request(AffineFormat format, DType dtype);

/// Compares folders with the model that they were made from.
/// @param model the name or folder by which the comparison opens it.
/// @throws Error{kUsage} a folder was calibrated on the text; {kCorrupt} the model changed since
///         `checkpoint` was opened.
ScoredFolders score_folders(const Checkpoint& checkpoint, const std::string& model,
                            std::span<const MadeFolder> made, Study& study,
                            const ScoringRequest& request, const FitEvents& events);

}  // namespace ram
