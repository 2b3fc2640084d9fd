// The rate-distortion curve of every unit: what each of the 18 formats would lose. Measured in one
// pass over the files and kept in the study as the work proceeds.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/progress.h"
#include "ram/quant.h"
#include "ram/study.h"

namespace ram {

struct UnitCurve {
  uint32_t formats = 0;  ///< bit i: kAffineFormats[i] was measured; 0: cannot be quantized
  int64_t part_weights = 0;
  std::vector<Distortion> parts;  ///< per part (expert), in the unit's order
  Distortion pooled;              ///< their sum, in that order

  /// Root of pooled squared error over pooled sum of squares (Encoder::kMlx), or the mean over
  /// parts weighted by their weights (kSimulated: the published `weighted_mean`). @pre bit `format`
  /// of formats is set.
  double nrmse(int format, Encoder encoder) const;
  /// The least SQNR over the parts, dB: what the veto tests.
  double sqnr_db(int format) const;
  /// Squared error per weight.
  double mse(int format) const;
};

struct ModelCurves {
  std::string fingerprint;  ///< digest over all used tensors' names, dtypes, shapes and contents
  DType dtype = DType::kBF16;
  Encoder encoder = Encoder::kMlx;
  std::vector<UnitCurve> units;  ///< one per Checkpoint::units
};

struct AnalyzeOptions {
  Encoder encoder = Encoder::kMlx;
  DType dtype = DType::kBF16;
  int threads = 1;
  bool rehash = false;  ///< read and hash every tensor again, even of unchanged files
  /// Bypasses the system's cache: for a model that is larger than memory, or read once. Takes less
  /// processor time than a read that fills the cache, but the next read finds nothing cached.
  bool past_cache = false;
  double keep_every_s = 2;  ///< between writes to the study; 0: each tensor at once (tests)
};

/// What analyze did, for the line that the command prints.
struct AnalyzeStats {
  int64_t tensors_measured = 0;
  int64_t tensors_known = 0;  ///< taken from the study, hashed again or not
  int64_t bytes_read = 0;
  double seconds = 0;
};

/// Brings the study up to date with the checkpoint and returns its curves.
///
/// Reads every tensor at most once (a tensor of a changed file is hashed first and measured again
/// only if its content changed), in blocks, over `threads` threads; the results do not depend on
/// their number. Work is kept in the study every few seconds, so a killed run continues where it
/// stopped. The model is recorded in the study too.
///
/// Tensors that are only carried are hashed, and checked to be finite. A study that cannot be
/// written is sufficient if it already has all curves.
///
/// @param progress phases "hash" and "analyze"; a phase without work is not reported.
/// @throws Error{kCorrupt} a weight is NaN or infinite (names tensor and position), or becomes
///         infinite in `dtype`; a file has changed since the checkpoint was opened; {kInterrupted};
///         and what Study and Checkpoint throw. Work done before an error is kept in the study.
/// @cost  one read of the files; a few MiB per thread, whatever the size of the model.
ModelCurves analyze(const Checkpoint& checkpoint, Study& study, const AnalyzeOptions& options,
                    const ProgressFn& progress = {}, AnalyzeStats* stats = nullptr);

/// @return what analyze would, if the study has all of it and no file has changed since; reads no
///         weights and writes nothing.
/// @throws what CurveTable::curves throws.
std::optional<ModelCurves> known_curves(const Checkpoint& checkpoint, Study& study,
                                        const AnalyzeOptions& options);

}  // namespace ram
