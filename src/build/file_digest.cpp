// Chunk by chunk: see file_digest.h.
#include "file_digest.h"

#include <algorithm>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/hash.h"
#include "ram/size.h"
#include "ram/thread.h"

namespace ram {

std::string join_digests(std::span<const std::string> chunks) {
  Hasher hasher;
  for (const std::string& chunk : chunks) hasher.update(chunk);
  return hasher.digest();
}

std::string chunk_digest(const InputFile& file, int64_t index, std::span<std::byte> buffer) {
  const int64_t begin = index * kDigestChunkBytes;
  const int64_t length = std::min(kDigestChunkBytes, file.size() - begin);
  RAM_CHECK(length > 0 && static_cast<int64_t>(buffer.size()) >= length);
  const auto chunk = buffer.first(static_cast<size_t>(length));
  file.read(begin, chunk);
  Hasher hasher;
  hasher.update(chunk);
  return hasher.digest();
}

std::vector<std::string> file_digests(std::span<const std::filesystem::path> paths, int threads,
                                      const std::function<void(int64_t)>& done) {
  // The chunks of one file after another: few files are open, and the disk reads sequentially.
  std::vector<std::string> digests;
  std::vector<std::vector<std::byte>> buffers(static_cast<size_t>(threads));
  for (const std::filesystem::path& path : paths) {
    const InputFile file(path);
    const int64_t longest = std::min(kDigestChunkBytes, file.size());
    std::vector<std::string> chunks(static_cast<size_t>(ceil_div(file.size(), kDigestChunkBytes)));
    parallel_for(threads, std::ssize(chunks), [&](int64_t i, int worker) {
      check_interrupted();
      std::vector<std::byte>& buffer = buffers[static_cast<size_t>(worker)];
      if (std::ssize(buffer) < longest) buffer.resize(static_cast<size_t>(longest));
      chunks[static_cast<size_t>(i)] = chunk_digest(file, i, buffer);
      if (done) done(std::min(kDigestChunkBytes, file.size() - i * kDigestChunkBytes));
    });
    digests.push_back(join_digests(chunks));
  }
  return digests;
}

namespace {

/// InputFile reads the size when it opens; the reservation alone may leave the file shorter.
OutputFile& sized(OutputFile& out, int64_t size) {
  out.reserve(size);
  constexpr std::byte kZero{0};
  if (size > 0) out.write(size - 1, std::span(&kZero, 1));
  return out;
}

}  // namespace

DigestedFile::DigestedFile(const std::filesystem::path& path, int64_t size)
    : out_(path),
      in_((sized(out_, size), path)),
      size_(size),
      missing_(static_cast<size_t>(ceil_div(size, kDigestChunkBytes))),
      digests_(missing_.size()) {
  for (size_t i = 0; i < missing_.size(); ++i) {
    missing_[i] = std::min(kDigestChunkBytes, size - static_cast<int64_t>(i) * kDigestChunkBytes);
  }
}

void DigestedFile::write(int64_t offset, std::span<const std::byte> bytes) {
  if (bytes.empty()) return;
  const int64_t end = offset + static_cast<int64_t>(bytes.size());
  RAM_CHECK(offset >= 0 && end <= size_);
  out_.write(offset, bytes);
  for (int64_t chunk = offset / kDigestChunkBytes; chunk * kDigestChunkBytes < end; ++chunk) {
    const int64_t from = std::max(offset, chunk * kDigestChunkBytes);
    const int64_t to = std::min(end, (chunk + 1) * kDigestChunkBytes);
    const auto index = static_cast<size_t>(chunk);
    // The thread that writes the last missing bytes sees what the others wrote before.
    const int64_t left = missing_[index].fetch_sub(to - from, std::memory_order_acq_rel);
    RAM_CHECK(left >= to - from);
    if (left > to - from) continue;
    thread_local std::vector<std::byte> buffer(static_cast<size_t>(kDigestChunkBytes));
    digests_[index] = chunk_digest(in_, chunk, buffer);
  }
}

std::string DigestedFile::finish() {
  for (const std::string& digest : digests_) RAM_CHECK(!digest.empty());
  out_.finish();
  return join_digests(digests_);
}

}  // namespace ram
