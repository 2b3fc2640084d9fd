// Where an output folder is written, and whether it may be written there.
#pragma once

#include <filesystem>
#include <string>

#include "ram/checkpoint.h"
#include "ram/mlx_layout.h"
#include "ram/progress.h"

namespace ram {

struct OutPaths {
  std::filesystem::path out;   ///< absolute, symbolic links resolved, no trailing slash
  std::filesystem::path work;  ///< beside it: the unfinished folder, its state and its lock
};

/// @throws Error{kUsage} no name, the root, or a link to nowhere.
OutPaths resolve_out_folder(const std::filesystem::path& out);

/// @throws Error{kUsage} one is inside the other, or the source is inside a work folder of `out`:
///         the source would be in its own output, or be replaced by it, or be removed.
void check_no_overlap(const Checkpoint& checkpoint, const std::filesystem::path& out);

/// @return the first difference between `out` and this layout ("config.json differs"); empty if
///         every byte of it is as it was written. @pre `out` exists.
/// @param progress phase "compare", in bytes of shards.
/// @cost reads all of `out` if names, sizes and texts match the layout.
/// @throws Error{kMissing} a file cannot be read; {kInterrupted}
std::string difference(const std::filesystem::path& out, const FolderLayout& layout, int threads,
                       const ProgressFn& progress);

/// @throws Error{kUsage} `out` is not a folder. @pre `out` exists.
void check_folder(const std::filesystem::path& out);

/// @throws Error{kWriteFailed} no folder can be made at this place, or none can be renamed to it.
void check_writable(const OutPaths& place);

/// @param found what difference() returned.
/// @throws Error{kUsage} unless `force` is set and `out` is empty, or was written by ram and
///         contains nothing else: a file that ram did not write, or an edited file other than
///         weights, is never lost (the message names it); neither an unreadable folder nor a mount
///         point is replaced; {kWriteFailed} the system does not allow the rename.
void check_replaceable(const std::filesystem::path& out, const std::string& found, bool force);

}  // namespace ram
