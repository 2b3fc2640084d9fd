// Locks, on file systems with and without lock support.
#include <cerrno>
#include <fstream>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/file_fault.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

class FileLockTest : public ::testing::TestWithParam<int> {
 protected:
  FileLockTest() {
    if (GetParam() == 0) return;
    set_file_fault([](FileStep step, const fs::path&, int64_t&) {
      return step == FileStep::kLock ? GetParam() : 0;
    });
  }
  ~FileLockTest() override { set_file_fault({}); }

  std::string refusal() const {
    try {
      const FileLock lock(path, "somebody is at it");
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kUsage) << error.what();
      return error.what();
    }
    return "";
  }

  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(folder.path())) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  testing::TempFolder folder;
  fs::path path = folder / "lock";
};

TEST_P(FileLockTest, OneHoldsItAndAfterThatTheNext) {
  {
    FileLock lock(path, "");
    EXPECT_EQ(lock.soft(), GetParam() != 0);
    EXPECT_THAT(refusal(), HasSubstr("somebody is at it"));
    EXPECT_THAT(refusal(), HasSubstr("somebody is at it"));
  }
  EXPECT_EQ(refusal(), "");
  FileLock lock(path, "");
  lock.remove_file();
  EXPECT_TRUE(names().empty());
}

TEST_P(FileLockTest, OfAProcessThatDiedItIsTaken) {
  const pid_t child = fork();
  if (child == 0) {
    FileLock* never_released = new FileLock(path, "");
    _exit(never_released->soft() == (GetParam() != 0) ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
  EXPECT_EQ(refusal(), "");
}

INSTANTIATE_TEST_SUITE_P(HardAndSoft, FileLockTest,
                         ::testing::Values(0, ENOSYS, ENOLCK, EOPNOTSUPP));

TEST_P(FileLockTest, OfAnotherMachineOrAnEmptyFileItIsLeftAlone) {
  for (const char* text : {"another-machine\n1\n1\n", "", "x", "\n\n\n"}) {
    std::ofstream(path.string() + ".held") << text;
    EXPECT_EQ(refusal().empty(), GetParam() == 0) << text;
    if (GetParam() != 0) {
      EXPECT_THAT(refusal(), HasSubstr("lock.held"));
    }
  }
}

/// A soft lock whose holder is gone.
void leave_dead_holder(const fs::path& path) {
  const pid_t child = fork();
  if (child == 0) {
    FileLock* never_released = new FileLock(path, "");
    _exit(never_released->soft() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  ASSERT_EQ(WEXITSTATUS(status), 0);
}

class SoftLock : public ::testing::Test {
 protected:
  SoftLock() {
    set_file_fault([](FileStep step, const fs::path&, int64_t&) {
      return step == FileStep::kLock ? ENOSYS : 0;
    });
  }
  ~SoftLock() override { set_file_fault({}); }

  testing::TempFolder folder;
  fs::path path = folder / "lock";
};

TEST_F(SoftLock, ADeadHolderIsLeftToWhoHasTheGuard) {
  leave_dead_holder(path);
  const std::string before = read_text_file(path.string() + ".held", 1000);
  std::ofstream(path.string() + ".guard") << "";
  try {
    const FileLock lock(path, "busy");
    FAIL() << "taken beside the guard";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("lock.guard"));
  }
  EXPECT_EQ(read_text_file(path.string() + ".held", 1000), before);
  EXPECT_TRUE(FileLock::is_file_of(path, folder / "lock.guard"));
  fs::remove(path.string() + ".guard");
  FileLock lock(path, "busy");
  lock.remove_file();
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

TEST_F(SoftLock, OfManyThatFindADeadHolderOneTakesIt) {
  constexpr int kPrograms = 8;
  for (int round = 0; round < 10; ++round) {
    leave_dead_holder(path);
    int start[2];
    int finish[2];
    ASSERT_EQ(pipe(start), 0);
    ASSERT_EQ(pipe(finish), 0);
    std::vector<pid_t> children;
    for (int i = 0; i < kPrograms; ++i) {
      const pid_t child = fork();
      if (child == 0) {
        // A read ends when the parent closes the other end.
        close(start[1]);
        close(finish[1]);
        char none = 0;
        bool taken = read(start[0], &none, 1) == 0;
        try {
          const FileLock lock(path, "busy");
          if (read(finish[0], &none, 1) != 0) taken = false;  // hold it until all have tried
          _exit(taken ? 1 : 2);
        } catch (const Error&) {
          _exit(0);
        }
      }
      children.push_back(child);
    }
    close(start[0]);
    close(finish[0]);
    close(start[1]);
    usleep(20'000);  // enough for all to try; with less the test would only be weaker
    close(finish[1]);
    int holders = 0;
    for (const pid_t child : children) {
      int status = 0;
      ASSERT_EQ(waitpid(child, &status, 0), child);
      ASSERT_TRUE(WIFEXITED(status));
      ASSERT_LT(WEXITSTATUS(status), 2);
      holders += WEXITSTATUS(status);
    }
    EXPECT_EQ(holders, 1) << round;
    fs::remove(path.string() + ".held");
  }
}

TEST(FileLockFailure, LeavesAFileThatAnotherMade) {
  const testing::TempFolder folder;
  const FileLock held(folder / "lock", "");
  set_file_fault(
      [](FileStep step, const fs::path&, int64_t&) { return step == FileStep::kLock ? EIO : 0; });
  EXPECT_THROW(FileLock(folder / "lock", ""), Error);
  set_file_fault({});
  EXPECT_TRUE(fs::exists(folder / "lock"));
}

TEST(FileLockFailure, LeavesNoFile) {
  const testing::TempFolder folder;
  set_file_fault(
      [](FileStep step, const fs::path&, int64_t&) { return step == FileStep::kLock ? EIO : 0; });
  EXPECT_THROW(FileLock(folder / "lock", ""), Error);
  set_file_fault({});
  EXPECT_TRUE(fs::is_empty(folder.path()));
}

}  // namespace
}  // namespace ram
