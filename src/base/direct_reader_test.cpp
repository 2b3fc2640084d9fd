// Reads that bypass the cache return the same bytes as reads through it, and leave it unchanged.
#include <algorithm>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/file.h"

#include "support/cold_file.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

constexpr int64_t kFileBytes = 300001;  // ends in the middle of a page

using testing::drop_from_cache;
using testing::TempFolder;

class DirectReaderTest : public ::testing::Test {
 protected:
  void SetUp() override {
    content_.resize(static_cast<size_t>(kFileBytes));
    std::mt19937 random(7);
    for (char& c : content_) c = static_cast<char>(random());
    write_file_atomic(path_, content_);
  }

  std::string read(const DirectReader& reader, int64_t offset, int64_t length) {
    const size_t size = static_cast<size_t>(length + DirectReader::kSlackBytes);
    void* memory = ::operator new(size, std::align_val_t{DirectReader::kAlignment});
    const auto release = [](void* m) {
      ::operator delete(m, std::align_val_t{DirectReader::kAlignment});
    };
    const std::unique_ptr<void, decltype(release)> owner(memory, release);
    const std::byte* bytes = reader.read(offset, length, {static_cast<std::byte*>(memory), size});
    return {reinterpret_cast<const char*>(bytes), static_cast<size_t>(length)};
  }

  TempFolder folder_;
  const std::filesystem::path path_ = folder_ / "file";
  std::string content_;
};

TEST_F(DirectReaderTest, EveryRangeIsThatOfTheFileWhetherCachedOrNot) {
  const InputFile file(path_);
  const DirectReader reader(file);
  std::mt19937_64 random(11);
  const auto below = [&](int64_t n) {
    return static_cast<int64_t>(random() % static_cast<uint64_t>(n));
  };
  for (int i = 0; i < 400; ++i) {
    if (i % 4 == 0) drop_from_cache(path_);
    const int64_t offset = below(kFileBytes);
    const int64_t length = i % 3 == 0 ? kFileBytes - offset : below(kFileBytes - offset + 1);
    ASSERT_EQ(read(reader, offset, length),
              content_.substr(static_cast<size_t>(offset), static_cast<size_t>(length)))
        << offset << "+" << length;
  }
}

TEST_F(DirectReaderTest, AFileCutWhileReadIsCorrupt) {
  const InputFile file(path_);
  const DirectReader reader(file);
  std::filesystem::resize_file(path_, 5000);
  drop_from_cache(path_);
  EXPECT_EQ(read(reader, 4999, 1), content_.substr(4999, 1));
  try {
    read(reader, 4000, 2000);
    FAIL() << "read past the end";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
  }
}

#if defined(__linux__)
TEST_F(DirectReaderTest, NothingIsLeftInTheCache) {
  const int64_t pages = kFileBytes / 4096 + 1;
  const auto cached = [&] {
    const int fd = open(path_.c_str(), O_RDONLY | O_CLOEXEC);
    void* range = mmap(nullptr, kFileBytes, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    std::vector<unsigned char> resident(static_cast<size_t>(pages));
    EXPECT_EQ(mincore(range, kFileBytes, resident.data()), 0);
    munmap(range, kFileBytes);
    return std::any_of(resident.begin(), resident.end(),
                       [](unsigned char page) { return (page & 1U) != 0; });
  };
  drop_from_cache(path_);
  if (cached()) GTEST_SKIP() << "skipped: this file system keeps its files in memory";
  const InputFile file(path_);
  const DirectReader reader(file);
  EXPECT_EQ(read(reader, 1, kFileBytes - 1), content_.substr(1));
  EXPECT_FALSE(cached());
}
#endif

}  // namespace
}  // namespace ram
