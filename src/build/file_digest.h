// The digest of an output file is the digest of its chunks' digests, so that several threads can
// compute it, and in any order while the file is written.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "ram/file.h"

namespace ram {

/// Bytes of a chunk: large enough to hash at full speed, small enough for one buffer per thread.
inline constexpr int64_t kDigestChunkBytes = int64_t{1} << 20;

/// @return Hasher's digest over the chunks' digests (32 hexadecimal digits each), in their order.
std::string join_digests(std::span<const std::string> chunks);

/// Reads chunk `index` of a file and hashes it. @param buffer at least kDigestChunkBytes.
std::string chunk_digest(const InputFile& file, int64_t index, std::span<std::byte> buffer);

/// The digests of whole files, computed by several threads; one file is open at a time.
/// @param done called with the bytes that were read, from several threads; may be empty.
/// @return one per path, in their order. @throws Error{kMissing}, {kCorrupt}, {kInterrupted}
std::vector<std::string> file_digests(std::span<const std::filesystem::path> paths, int threads,
                                      const std::function<void(int64_t)>& done = {});

/// A new file of known size, hashed while it is written: the thread that completes a chunk reads it
/// back and hashes it, while it is still in the page cache.
///
/// Writes may come from several threads and in any order; every byte is written exactly once.
class DigestedFile {
 public:
  /// Creates the file and reserves its blocks. @throws Error{kWriteFailed}
  DigestedFile(const std::filesystem::path& path, int64_t size);

  void write(int64_t offset, std::span<const std::byte> bytes);

  /// Makes the file durable. @return its digest. @pre The file is completely written.
  std::string finish();

 private:
  OutputFile out_;
  InputFile in_;
  int64_t size_;
  std::vector<std::atomic<int64_t>> missing_;  // bytes, per chunk
  std::vector<std::string> digests_;
};

}  // namespace ram
