// The files of a model folder beside config.json and the weights: which are copied to the output,
// which are clutter, and the notes about those that cannot be copied.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ram/checkpoint.h"

namespace ram {

struct SideFiles {
  std::vector<CarriedFile> carried;  ///< sorted by name
  std::vector<std::string> notes;    ///< one line per file that should be copied but cannot be
};

/// Tokenizer, chat templates, generation settings, licence: what mlx_lm and transformers need
/// beside config.json and the weights. A link is followed only inside the folder and into the blobs
/// of the Hugging Face cache: any other target was never meant to be published.
/// @param fetch appended to a note about a missing file.
/// @throws Error{kMissing} the folder cannot be read.
SideFiles find_side_files(const std::filesystem::path& folder, const std::string& fetch);

/// @return the target of a file that is a link which is not followed for copied files: out of the
/// folder and not into a cache; empty otherwise.
std::filesystem::path linked_out(const std::filesystem::path& folder, const std::string& name);

}  // namespace ram
