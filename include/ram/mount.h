// Boundaries between file systems.
#pragma once

#include <filesystem>

namespace ram {

/// @return whether something is mounted at this folder, so that it cannot be renamed. False if that
///         is not known.
bool is_mount_point(const std::filesystem::path& folder);

}  // namespace ram
