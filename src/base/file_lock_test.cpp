// Locks, with and without a file system that has them.
#include <cerrno>
#include <fstream>

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
