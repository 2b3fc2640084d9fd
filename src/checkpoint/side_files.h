// The files of a model folder beside config.json and the weights: which go into the output, which
// are clutter, and what is said of those that cannot go along.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ram/checkpoint.h"

namespace ram {

struct SideFiles {
  std::vector<CarriedFile> carried;  ///< sorted by name
  std::vector<std::string> notes;    ///< a line for each file that would be carried and cannot be
};

/// Tokenizer, chat templates, generation settings, licence: what mlx_lm and transformers need
/// beside config.json and the weights. A link is followed inside the folder and into the blobs of
/// the Hugging Face cache only: where else it leads to was never meant to be published.
/// @param fetch what a note about a missing file adds.
/// @throws Error{kMissing} the folder cannot be read.
SideFiles find_side_files(const std::filesystem::path& folder, const std::string& fetch);

/// @return where a file of the folder is, if a link leads there that is followed by no carried
/// file: out of the folder and into no cache; empty otherwise.
std::filesystem::path linked_out(const std::filesystem::path& folder, const std::string& name);

}  // namespace ram
