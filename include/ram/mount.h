// Where one file system ends and another begins.
#pragma once

#include <filesystem>

namespace ram {

/// @return whether something is mounted at this folder: the system lets nobody rename it then.
/// False where that is not known.
bool is_mount_point(const std::filesystem::path& folder);

}  // namespace ram
