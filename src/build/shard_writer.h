// Fills the shards of a layout from the source, over several threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/mlx_layout.h"
#include "ram/progress.h"

#include "blocks.h"

namespace ram {

class ShardWriter {
 public:
  /// @param formats one per unit; outlives the writer, as the checkpoint does.
  /// @param encoded as for BlockEncoder.
  ShardWriter(const Checkpoint& checkpoint, std::span<const UnitFormat> formats, DType dtype,
              const EncodedRowsFn& encoded, int threads, const ProgressFn& progress);

  /// Announces a shard that will be written, for the progress.
  void expect(const Shard& shard);

  /// Writes one shard and makes it durable. @return its digest (file_digest.h).
  /// @throws Error{kCorrupt} a weight is not finite; {kWriteFailed}; {kInterrupted}
  std::string write(const Shard& shard, const std::filesystem::path& path);

 private:
  void report(int64_t bytes);

  const Checkpoint* checkpoint_;
  std::span<const UnitFormat> formats_;
  DType dtype_;
  int threads_;
  ProgressFn progress_;
  std::vector<BlockEncoder> encoders_;  // one per thread
  std::mutex progress_mutex_;
  int64_t done_bytes_ = 0;
  int64_t total_bytes_ = 0;
};

}  // namespace ram
