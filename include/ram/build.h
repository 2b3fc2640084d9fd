// Writes a plan's folder, completely or not at all; checks a folder against its plan, its source
// and the study.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/plan.h"
#include "ram/progress.h"
#include "ram/study.h"

namespace ram {

/// Supplies rows [row, row + count) of one part as they are to be stored, in the shapes of
/// affine_encode. Called from several threads at a time.
using EncodedRowsFn = std::function<void(int unit, int part, int64_t row, int64_t count,
                                         uint32_t* codes, std::byte* scales, std::byte* biases)>;

struct BuildOptions {
  int threads = 1;
  bool force = false;  ///< replace an existing OUT (as a whole, at the end)
  int64_t max_shard_bytes = kMaxShardBytes;
  /// Supplies quantized units. Required for plans of an encoder other than mlx (calibrate.h).
  EncodedRowsFn encoded = {};
  /// Receives messages for the user that are not errors; may be empty.
  std::function<void(const std::string&)> note = {};
};

enum class BuildOutcome : uint8_t {
  kWritten,
  kAlreadyThere,  ///< OUT was already exactly this; nothing was changed
};

/// What exists at the path of an output folder.
enum class OutState : uint8_t {
  kNew,    ///< nothing
  kBegun,  ///< nothing, but an interrupted run left files beside it
  kThere,  ///< a folder: it may be the requested one, or may be replaced
};

/// Refuses at once what build_folder would refuse for any plan: to be called before long work.
///
/// @throws Error{kUsage} OUT is not a folder, or `force` is set and OUT contains files that ram did
///         not write; OUT inside the source or the other way round; {kWriteFailed} OUT cannot be
///         written.
OutState check_out_folder(const Checkpoint& checkpoint, const std::filesystem::path& out,
                          bool force);

/// @return bytes that an interrupted run left beside OUT: the next run reuses or removes them.
int64_t unfinished_bytes(const std::filesystem::path& out);

/// Writes the folder of a complete plan beside OUT (as ".<name>.ram-partial"), syncs it, then
/// renames it.
///
/// The bytes do not depend on the number of threads, nor on how often the run was killed: a later
/// run reuses the shards that an earlier one finished for the same plan, after reading them again,
/// and removes those of another plan.
///
/// @throws Error{kUsage} OUT exists, is something else and `force` is not set, or `force` is set
///         and OUT contains files that ram did not write; OUT inside the source or the other way
///         round; another program is writing OUT; {kWriteFailed} no space (checked before anything
///         is written, with the bytes missing), or the write failed; {kCorrupt} a weight that is
///         not finite, or the source changed since it was opened (OUT is then as it was);
///         {kInterrupted}. Finished shards are kept after all errors but kCorrupt and kInternal.
/// @cost  one read of the source, one write of OUT; a few MiB per thread.
BuildOutcome build_folder(const Checkpoint& checkpoint, const Plan& plan, Study& study,
                          const std::filesystem::path& out, const BuildOptions& options,
                          const ProgressFn& progress = {});

struct VerifyReport {
  std::vector<std::string> problems;  ///< one line each; empty: none
  int64_t total_bytes = 0;
  int64_t units = 0;
  bool contents_known = false;  ///< plan.json or the study has digests: every byte was compared
  double largest_error_ratio =
      0;  ///< with a source: largest |measured / planned - 1| of squared errors
};

/// Re-reads a folder and checks plan.json; that every file exists and no other does (except
/// clutter: side_file); exact sizes; headers; config.json's formats; that scales and biases are
/// finite; and every file's digest, against plan.json and, where it knows this build, against the
/// study. With a source: decodes every unit and compares its error with the plan's; for encoder mlx
/// also compares the error with the study's curve, and the unit's bytes with a fresh encoding.
///
/// @param source may be null.
/// @throws only if it cannot check (OUT missing, source unreadable); the report lists the problems
///         that it finds.
VerifyReport verify_folder(const std::filesystem::path& out, const Checkpoint* source, Study* study,
                           int threads, const ProgressFn& progress = {});

}  // namespace ram
