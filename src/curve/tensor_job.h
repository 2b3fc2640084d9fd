// One tensor, hashed and measured in blocks that any thread may take in any order.
//
// The split into blocks depends on shapes alone, and sums are added in the order of the blocks: the
// results do not depend on threads. Relies on Checkpoint for the bytes and on quant for the sums.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/curve.h"
#include "ram/curve_table.h"
#include "ram/file.h"

#include "uses.h"

namespace ram {

/// Bytes of a chunk: the unit of reading, of hashing and of measuring. A multiple of the bytes of
/// every group, so that a chunk of a tensor ends where a group ends. Larger chunks fall out of
/// the second-level cache between reading, hashing and measuring.
inline constexpr int64_t kChunkBytes = int64_t{1} << 20;

/// A worker's own memory, used for every block that it takes; allocated with the first.
class BlockBuffer {
 public:
  /// @return room for at least this many bytes, aligned as DirectReader requires; always room for a
  /// chunk and its slack.
  std::span<std::byte> room(int64_t bytes);

  const std::byte* content = nullptr;  ///< what TensorJob::read has read

 private:
  struct Free {
    void operator()(std::byte* memory) const;
  };
  static std::unique_ptr<std::byte[], Free> allocate(int64_t bytes);
  int64_t bytes_ = 0;
  std::unique_ptr<std::byte[], Free> memory_;
};

struct TensorResult {
  std::string hash;
  std::vector<PartCurve> parts;  ///< per TensorUse::parts; empty if only hashed
};

/// How the rows of a part are read: from the tensor's chunks, in the same pass as the hash, or
/// through Checkpoint::read_rows, which handles every view and storage format.
enum class RowReading : uint8_t { kWithChunks, kByRows };

/// @return how a part of `cols` columns is read.
RowReading row_reading(const Part& part, int64_t cols);

class TensorJob {
 public:
  /// @param use, options  must live as long as the job.
  /// @param measure  false: the tensor is only hashed.
  /// @param least    kByRows: for tests, used for any view.
  TensorJob(const Checkpoint& checkpoint, const TensorUse& use, const AnalyzeOptions& options,
            bool measure, RowReading least = RowReading::kWithChunks);
  ~TensorJob();
  TensorJob(const TensorJob&) = delete;
  TensorJob& operator=(const TensorJob&) = delete;

  const TensorUse& use() const { return use_; }
  bool measures() const { return measure_; }
  /// At least 1, even for an empty tensor.
  int64_t blocks() const { return chunks_ + row_blocks_; }
  int64_t block_bytes(int64_t block) const;
  void prefetch(int64_t block) const;

  /// Reads one block. Safe to call from several threads.
  /// @param direct  per file of the checkpoint, or empty: through the system's cache.
  void read(int64_t block, BlockBuffer& buffer, std::span<const DirectReader> direct) const;

  /// Processes a block that was read into the buffer; every block once. Safe to call from several
  /// threads.
  /// @return true for the call that finished the tensor.
  /// @throws Error{kCorrupt} an element is not finite, also after rounding to the output's dtype.
  bool run(int64_t block, const BlockBuffer& buffer);

  /// The tensor's results, once; frees the working memory. @pre run returned true.
  TensorResult take_result();

 private:
  /// Location of a part's rows, and of its sums: one per chunk that it touches, or per block.
  struct Place {
    RowReading reading = RowReading::kWithChunks;
    int64_t begin = 0;  ///< bytes from the tensor's start, kWithChunks
    int64_t end = 0;
    int64_t rows_per_block = 0;  ///< kByRows
    int64_t first_block = 0;     ///< kByRows: after the chunks
    int64_t first_sum = 0;
    int64_t sums = 0;
  };
  struct Work;

  struct RowBlock {
    size_t place = 0;
    int64_t first_row = 0;
    int64_t rows = 0;
    int64_t sum = 0;
  };

  const Unit& unit_of(size_t place) const;
  void add_place(size_t part, RowReading least);
  RowBlock row_block(int64_t block) const;
  int64_t chunk_size(int64_t chunk) const;
  void run_chunk(int64_t chunk, const std::byte* bytes);
  void run_rows(int64_t block, const std::byte* weights);
  Distortion measure(size_t place, const std::byte* weights, int64_t count) const;
  void check_rows_finite(const RowBlock& rows, const std::byte* weights) const;
  void check_finite(const std::byte* weights, DType source, int64_t first, int64_t count) const;

  const Checkpoint& checkpoint_;
  const TensorUse& use_;
  const AnalyzeOptions& options_;
  const SourceTensor& source_;
  const bool measure_;
  int64_t chunks_ = 0;
  int64_t row_blocks_ = 0;
  int64_t sums_ = 0;
  std::vector<Place> places_;  // per use_.parts; empty if only hashed
  std::once_flag begun_;
  std::unique_ptr<Work> work_;  // from the first block until the result is taken
};

}  // namespace ram
