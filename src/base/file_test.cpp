// Files: written data is read back, failures are reported, nothing is left behind.
#include "ram/file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <fstream>
#include <thread>

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/file_fault.h"
#include "ram/mount.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

class FileTest : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = fs::temp_directory_path() /
              fmt::format("ram-file-{}", testing::UnitTest::GetInstance()->random_seed());
    folder_ += testing::UnitTest::GetInstance()->current_test_info()->name();
    fs::remove_all(folder_);
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  static Code code_of(const std::function<void()>& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.code();
    }
    return Code{};
  }

  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : fs::directory_iterator(folder_)) {
      found.push_back(entry.path().filename().string());
    }
    std::sort(found.begin(), found.end());
    return found;
  }

  fs::path folder_;
};

TEST_F(FileTest, AtomicWriteReplacesTheWholeFileAndLeavesNothingElse) {
  const fs::path path = folder_ / "a.json";
  write_file_atomic(path, "first, longer");
  write_file_atomic(path, "second");
  EXPECT_EQ(read_text_file(path, 100), "second");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
}

TEST_F(FileTest, AtomicWriteThatFailsRemovesItsOwnFileAndNothingElse) {
  std::ofstream(folder_ / "a.somebody's.tmp") << "x";
  set_file_fault([](FileStep step, const fs::path&, int64_t&) {
    return step == FileStep::kWrite ? ENOSPC : 0;
  });
  EXPECT_EQ(code_of([&] { write_file_atomic(folder_ / "a", "x"); }), Code::kWriteFailed);
  set_file_fault({});
  EXPECT_EQ(names(), std::vector<std::string>{"a.somebody's.tmp"});
}

TEST_F(FileTest, AtomicWriteTouchesNothingThatLiesUnderAnotherName) {
  write_file_atomic(folder_ / "precious", "precious");
  // Process ids in a container are small, so others can predict them.
  const std::string planted = fmt::format("a.json.{}.tmp", getpid());
  fs::create_symlink("precious", folder_ / planted);
  write_file_atomic(folder_ / "a.json", "mine");
  EXPECT_EQ(read_text_file(folder_ / "precious", 100), "precious");
  EXPECT_EQ(read_text_file(folder_ / "a.json", 100), "mine");
  EXPECT_EQ(names(), (std::vector<std::string>{"a.json", planted, "precious"}));
}

TEST_F(FileTest, ALinkInThePlaceOfAnOutputIsNotFollowed) {
  write_file_atomic(folder_ / "precious", "precious");
  fs::create_symlink("precious", folder_ / "link");
  EXPECT_EQ(code_of([&] { OutputFile(folder_ / "link"); }), Code::kWriteFailed);
  EXPECT_EQ(read_text_file(folder_ / "precious", 100), "precious");
}

TEST_F(FileTest, ManyWritersOfOneNameLeaveOneOfTheirTextsWhole) {
  constexpr int kWriters = 8;
  constexpr int kRounds = 20;
  std::vector<std::thread> writers;
  writers.reserve(kWriters);
  std::atomic<int> failed{0};
  for (int writer = 0; writer < kWriters; ++writer) {
    writers.emplace_back([&, writer] {
      const std::string text(10'000, static_cast<char>('a' + writer));
      for (int round = 0; round < kRounds; ++round) {
        if (code_of([&] { write_file_atomic(folder_ / "a", text); }) != Code{}) ++failed;
        remove_dead_replacements(folder_ / "a");  // none of them is dead
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(failed, 0);
  const std::string text = read_text_file(folder_ / "a", 100'000);
  EXPECT_EQ(text, std::string(10'000, text.front()));
  EXPECT_EQ(names(), std::vector<std::string>{"a"});
}

TEST_F(FileTest, ANameAsLongAsTheSystemTakesIsWritten) {
  std::string longest;
  while (longest.size() < 254) longest += "\xc3\xa9";  // two bytes a letter
  for (const std::string& name : {std::string(250, 'n'), longest, longest + "x"}) {
    write_file_atomic(folder_ / name, "x");
    EXPECT_EQ(read_text_file(folder_ / name, 1), "x");
    fs::remove(folder_ / name);
    EXPECT_TRUE(names().empty());
  }
  EXPECT_EQ(code_of([&] { ReplacementFile(folder_ / std::string(300, 'n')); }), Code::kWriteFailed);
}

TEST_F(FileTest, OnlyWhatADeadProcessLeftIsRemoved) {
  const fs::path target = folder_ / "a";
  const std::string left = "a.0123456789abcdef.ram-tmp";
  const ReplacementFile held(target);
  const std::vector<std::string> before = names();
  ASSERT_EQ(before.size(), 1);
  std::ofstream(folder_ / left) << "x";
  std::vector<std::string> others = {"a.0123456789abcdef.ram-tmp.gz", "a.0123456789abcdeg.ram-tmp",
                                     "a.ram-tmp", "b.0123456789abcdef.ram-tmp"};
  for (const std::string& name : others) std::ofstream(folder_ / name) << "x";
  others.emplace_back("a.1123456789abcdef.ram-tmp");
  fs::create_symlink("a.ram-tmp", folder_ / others.back());
  others.emplace_back("a.2123456789abcdef.ram-tmp");
  fs::create_directory(folder_ / others.back());
  remove_dead_replacements(target);
  others.push_back(before.front());
  std::sort(others.begin(), others.end());
  EXPECT_EQ(names(), others);
}

TEST_F(FileTest, WritesAtOffsetsLandWhereTheyShould) {
  OutputFile file(folder_ / "b");
  file.reserve(6);
  file.write(3, std::as_bytes(std::span("def", 3)));
  file.write(0, std::as_bytes(std::span("abc", 3)));
  file.finish();
  EXPECT_EQ(read_text_file(folder_ / "b", 6), "abcdef");
}

TEST_F(FileTest, ReadingPastTheEndIsCorruptAndAMissingFileIsMissing) {
  write_file_atomic(folder_ / "c", "1234");
  const InputFile file(folder_ / "c");
  std::array<std::byte, 8> buffer = {};
  EXPECT_EQ(code_of([&] { file.read(0, buffer); }), Code::kCorrupt);
  EXPECT_EQ(code_of([&] { InputFile(folder_ / "none"); }), Code::kMissing);
  EXPECT_EQ(code_of([&] { InputFile{folder_}; }), Code::kMissing);
  EXPECT_EQ(code_of([&] { read_text_file(folder_ / "c", 3); }), Code::kCorrupt);
  EXPECT_EQ(code_of([&] { write_file_atomic(folder_ / "no" / "d", "x"); }), Code::kWriteFailed);
}

TEST_F(FileTest, AFifoDoesNotHangTheReader) {
  ASSERT_EQ(mkfifo((folder_ / "fifo").c_str(), 0600), 0);
  EXPECT_EQ(code_of([&] { InputFile(folder_ / "fifo"); }), Code::kMissing);
}

TEST_F(FileTest, IdentityChangesWhenTheContentIsReplaced) {
  write_file_atomic(folder_ / "e", "same size");
  const FileIdentity before = file_identity(folder_ / "e");
  EXPECT_EQ(before, file_identity(folder_ / "e"));
  write_file_atomic(folder_ / "e", "SAME SIZE");
  EXPECT_NE(before, file_identity(folder_ / "e"));
}

TEST_F(FileTest, ASecondHolderOfALockIsTurnedAway) {
  const FileLock first(folder_ / "lock", "busy");
  EXPECT_EQ(code_of([&] { FileLock(folder_ / "lock", "busy"); }), Code::kUsage);
}

TEST_F(FileTest, ALockWhoseFileIsGoneKeepsNobodyOutAndTheNextMakesANewOne) {
  FileLock first(folder_ / "lock", "busy");
  first.remove_file();
  EXPECT_FALSE(fs::exists(folder_ / "lock"));
  const FileLock second(folder_ / "lock", "busy");
  EXPECT_EQ(code_of([&] { FileLock(folder_ / "lock", "busy"); }), Code::kUsage);
}

TEST_F(FileTest, ExchangedFoldersHaveEachOthersContent) {
  fs::create_directories(folder_ / "a");
  fs::create_directories(folder_ / "b");
  write_file_atomic(folder_ / "a" / "x", "of a");
  write_file_atomic(folder_ / "b" / "y", "of b");
  if (!exchange_durably(folder_ / "a", folder_ / "b")) {
    GTEST_SKIP() << "skipped: this file system cannot exchange folders";
  }
  EXPECT_EQ(read_text_file(folder_ / "b" / "x", 100), "of a");
  EXPECT_EQ(read_text_file(folder_ / "a" / "y", 100), "of b");
  EXPECT_FALSE(fs::exists(folder_ / "a" / "x"));
  EXPECT_EQ(code_of([&] { exchange_durably(folder_ / "a", folder_ / "none"); }),
            Code::kWriteFailed);
}

TEST_F(FileTest, FreeSpaceIsKnownForAPlaceThatDoesNotExistYet) {
  EXPECT_GT(free_bytes(folder_ / "not" / "there"), 0);
}

#if defined(__linux__)
TEST_F(FileTest, AMountPointIsTold) {
  EXPECT_TRUE(is_mount_point("/proc"));
  EXPECT_FALSE(is_mount_point(folder_));
  EXPECT_FALSE(is_mount_point("/proc/self"));
  EXPECT_FALSE(is_mount_point(folder_ / "none"));
}
#endif

}  // namespace
}  // namespace ram
