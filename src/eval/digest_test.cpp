// What the study keeps about a model's folder.
#include <fstream>
#include <string>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ram/eval.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

/// Leaves room for only a few more open files, as long as it lives.
class FewFiles {
 public:
  explicit FewFiles(rlim_t more) {
    const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(next);
    getrlimit(RLIMIT_NOFILE, &before_);
    rlimit few = before_;
    few.rlim_cur = static_cast<rlim_t>(next) + more;
    setrlimit(RLIMIT_NOFILE, &few);
  }
  ~FewFiles() { setrlimit(RLIMIT_NOFILE, &before_); }
  FewFiles(const FewFiles&) = delete;
  FewFiles& operator=(const FewFiles&) = delete;

 private:
  rlimit before_ = {};
};

TEST(EvaluatedModel, ItsBytesAreThoseOfAllFoldersHoweverDeep) {
  const testing::TempFolder folder;
  const fs::path model = folder / "model";
  fs::copy(RAM_SOURCE_DIR "/models/demo", model);
  Study study(folder / "ram.db");
  const Checkpoint checkpoint = Checkpoint::open(model.string());
  const int64_t bytes = evaluated_model(checkpoint, study).bytes;
  fs::path deep = model;
  constexpr int kDepth = 12;
  constexpr int64_t kEach = 1000;
  for (int i = 0; i < kDepth; ++i) {
    deep /= "deeper";
    fs::create_directory(deep);
    std::ofstream(deep / "file.bin") << std::string(kEach, 'x');
  }
  fs::create_directory_symlink(model, deep / "again");
  EXPECT_EQ(evaluated_model(checkpoint, study).bytes, bytes + kDepth * kEach);
  // A folder that cannot be opened does not end the walk, and its parents do not stay open.
  const FewFiles few(6);
  EXPECT_EQ(evaluated_model(checkpoint, study).bytes, bytes + kDepth * kEach);
}

}  // namespace
}  // namespace ram
