// The files of an output folder, without the clutter of operating systems.
#pragma once

#include <filesystem>
#include <string>

#include "ram/checkpoint.h"

namespace ram {

/// Calls visit(name, entry) for everything in a folder except folders and clutter; the name is
/// relative to the folder, with '/'. Folders of clutter are not entered: their content does not
/// belong to the folder and may not be readable (.Trashes).
/// @throws std::filesystem::filesystem_error
template <typename Visit>
void visit_files(const std::filesystem::path& folder, const Visit& visit) {
  namespace fs = std::filesystem;
  for (fs::recursive_directory_iterator at(folder), end; at != end; ++at) {
    const std::string name = at->path().lexically_relative(folder).generic_string();
    if (side_file(name) == SideFile::kClutter) {
      at.disable_recursion_pending();
    } else if (!fs::is_directory(at->symlink_status())) {
      visit(name, *at);
    }
  }
}

}  // namespace ram
