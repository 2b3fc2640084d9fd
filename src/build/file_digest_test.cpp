// The digest of a file does not depend on how the file was written.
#include "file_digest.h"

#include <algorithm>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

#include "ram/hash.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "support/temp_folder.h"

namespace ram::testing {
namespace {

std::vector<std::byte> noise(int64_t size) {
  std::minstd_rand random(7);
  std::vector<std::byte> bytes(static_cast<size_t>(size));
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random() >> 8 & 0xff);
  return bytes;
}

/// As docs/formats/mlx-folder.md has it, from the bytes alone.
std::string documented_digest(std::span<const std::byte> bytes) {
  std::string digests;
  for (size_t at = 0; at < bytes.size(); at += size_t{1} << 20) {
    Hasher hasher;
    hasher.update(bytes.subspan(at, std::min(size_t{1} << 20, bytes.size() - at)));
    digests += hasher.digest();
  }
  return hash_text(digests);
}

TEST(FileDigest, IsTheDocumentedOneInWhateverOrderAndPiecesTheFileIsWritten) {
  const TempFolder folder;
  for (const int64_t size : {int64_t{0}, int64_t{1}, kDigestChunkBytes - 1, kDigestChunkBytes,
                             kDigestChunkBytes + 1, 3 * kDigestChunkBytes + 12345}) {
    const std::vector<std::byte> bytes = noise(size);
    for (const int64_t piece : {int64_t{70001}, kDigestChunkBytes, 2 * kDigestChunkBytes + 5}) {
      std::vector<int64_t> pieces(static_cast<size_t>(ceil_div(size, piece)));
      std::iota(pieces.begin(), pieces.end(), 0);
      std::shuffle(pieces.begin(), pieces.end(), std::minstd_rand(3));
      DigestedFile file(folder / "file", size);
      parallel_for(3, static_cast<int64_t>(pieces.size()), [&](int64_t i, int) {
        const int64_t begin = pieces[static_cast<size_t>(i)] * piece;
        const int64_t length = std::min(piece, size - begin);
        file.write(begin, std::span(bytes).subspan(static_cast<size_t>(begin),
                                                   static_cast<size_t>(length)));
      });
      EXPECT_EQ(file.finish(), documented_digest(bytes)) << size << " by " << piece;
      EXPECT_EQ(file_identity(folder / "file").size, size);
    }
  }
}

TEST(FileDigest, ChunksReadBackGiveTheDigestOfTheWriting) {
  const TempFolder folder;
  const std::vector<std::byte> bytes = noise(2 * kDigestChunkBytes + 77);
  DigestedFile file(folder / "file", static_cast<int64_t>(bytes.size()));
  file.write(0, bytes);
  const std::string written = file.finish();
  const InputFile input(folder / "file");
  std::vector<std::byte> buffer(static_cast<size_t>(kDigestChunkBytes));
  std::vector<std::string> chunks;
  for (int64_t i = 0; i < 3; ++i) chunks.push_back(chunk_digest(input, i, buffer));
  EXPECT_EQ(join_digests(chunks), written);
  std::swap(chunks[0], chunks[1]);
  EXPECT_NE(join_digests(chunks), written);
}

}  // namespace
}  // namespace ram::testing
