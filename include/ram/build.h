// A plan becomes a folder, whole or not at all; a folder is checked against its plan, its source
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

/// Gives rows [row, row + count) of one part as they are to be stored, in the shapes of
/// affine_encode. Called from several threads at a time.
using EncodedRowsFn = std::function<void(int unit, int part, int64_t row, int64_t count,
                                         uint32_t* codes, std::byte* scales, std::byte* biases)>;

struct BuildOptions {
  int threads = 1;
  bool force = false;  ///< an existing OUT is replaced (whole, at the end)
  int64_t max_shard_bytes = kMaxShardBytes;
  /// Where quantized units come from, for plans of an encoder other than mlx
  /// (calibrate.h), which must have it.
  EncodedRowsFn encoded = {};
  /// Told what people should know and what is no error; may be empty.
  std::function<void(const std::string&)> note = {};
};

enum class BuildOutcome : uint8_t {
  kWritten,
  kAlreadyThere,  ///< OUT was exactly this already; nothing was touched
};

/// What is at the place of an output folder.
enum class OutState : uint8_t {
  kNew,    ///< nothing
  kBegun,  ///< nothing but what an interrupted run left beside it
  kThere,  ///< a folder: it may be what is asked for, or be replaced
};

/// Refuses at once what build_folder would refuse whatever the plan: for asking before long work.
///
/// @throws Error{kUsage} OUT is not a folder, or is there, `force` is set and it holds what ram did
///         not write; OUT inside the source or the other way round; {kWriteFailed} nothing can be
///         written there.
OutState check_out_folder(const Checkpoint& checkpoint, const std::filesystem::path& out,
                          bool force);

/// @return bytes of what an interrupted run left beside OUT: the next run takes it up or removes
/// it.
int64_t unfinished_bytes(const std::filesystem::path& out);

/// Writes the folder of a complete plan: beside OUT (".<name>.ram-partial"), synced, then renamed.
///
/// The bytes do not depend on the number of threads, nor on how often the run was killed: a later
/// run takes up the shards that an earlier one finished for the same plan, after reading them
/// again, and removes what it left of another.
///
/// @throws Error{kUsage} OUT exists and is something else and `force` is not set, or holds with
///         `force` what ram did not write; OUT inside the source or the other way round; another
///         program is writing OUT; {kWriteFailed} no space (checked before anything is written,
///         with the bytes missing), or the write failed; {kCorrupt} a weight that is not finite, or
///         the source changed since it was opened (OUT is then as it was); {kInterrupted}. After
///         all but kCorrupt and kInternal finished shards are kept.
/// @cost  one read of the source, one write of OUT; a few MiB per thread.
BuildOutcome build_folder(const Checkpoint& checkpoint, const Plan& plan, Study& study,
                          const std::filesystem::path& out, const BuildOptions& options,
                          const ProgressFn& progress = {});

struct VerifyReport {
  std::vector<std::string> problems;  ///< one line each; empty: all is well
  int64_t total_bytes = 0;
  int64_t units = 0;
  bool contents_known = false;  ///< plan.json or the study has digests: every byte was compared
  double largest_error_ratio =
      0;  ///< with a source: largest |measured / planned - 1| of squared errors
};

/// Re-reads a folder: plan.json, every file there and no other (clutter apart: side_file), sizes
/// to the byte, headers, config.json's formats, scales and biases finite; every file's digest by
/// plan.json, and by the study where it has this build.
/// With a source: decodes every unit and compares its error with the plan's; for encoder mlx also
/// with the study's curve, and its bytes with a fresh encoding.
///
/// @param source may be null.
/// @throws only for what keeps it from looking (OUT missing, source unreadable); what it finds
/// wrong is in the report.
VerifyReport verify_folder(const std::filesystem::path& out, const Checkpoint* source, Study* study,
                           int threads, const ProgressFn& progress = {});

}  // namespace ram
