// Where an output folder goes, and whether it may go there.
#pragma once

#include <filesystem>
#include <string>

#include "ram/checkpoint.h"
#include "ram/mlx_layout.h"
#include "ram/progress.h"

namespace ram {

struct OutPaths {
  std::filesystem::path out;   ///< absolute, symbolic links resolved, no trailing slash
  std::filesystem::path work;  ///< beside it: what is being written, its state and its lock
};

/// @throws Error{kUsage} no name, the root, or a link to nowhere.
OutPaths resolve_out_folder(const std::filesystem::path& out);

/// @throws Error{kUsage} one lies in the other, or the source in a work folder of `out`: the source
///         would be in its own output, or be replaced by it, or be removed.
void check_no_overlap(const Checkpoint& checkpoint, const std::filesystem::path& out);

/// @return what keeps `out` from being this layout ("config.json differs"); empty if nothing does:
///         then every byte of it is as it was written. @pre out exists.
/// @param progress phase "compare", in bytes of shards.
/// @cost  reads all of `out` where names, sizes and texts are the layout's.
/// @throws Error{kMissing} a file cannot be read; {kInterrupted}
std::string difference(const std::filesystem::path& out, const FolderLayout& layout, int threads,
                       const ProgressFn& progress);

/// @throws Error{kUsage} `out` is no folder. @pre out exists.
void check_folder(const std::filesystem::path& out);

/// @throws Error{kWriteFailed} no folder can be made at this place, or not be renamed to it.
void check_writable(const OutPaths& place);

/// @param found what difference() said.
/// @throws Error{kUsage} unless `force` is set and `out` is empty, or was written by ram and holds
///         nothing else: a file that ram did not write, or one beside the weights that was edited,
///         is never lost (the message names it); what cannot be read is not replaced, nor where
///         something is mounted; {kWriteFailed} the system would not let it be renamed.
void check_replaceable(const std::filesystem::path& out, const std::string& found, bool force);

}  // namespace ram
