// Places and contents of a study: too few open files, no folder, and the names that later programs
// look for.
#include <functional>
#include <utility>
#include <vector>

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/curve_table.h"
#include "ram/error.h"

#include "support/sanitizers.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr FileIdentity kFirstFile{
    .size = 10, .mtime_ns = 20, .ctime_ns = 30, .inode = 40, .device = 50};

using Curve = std::pair<CurveKey, PartCurve>;

/// A curve of one tensor by one encoder; identified by its sum of squares.
Curve curve_by(Encoder encoder, double sum_squares) {
  CurveKey key{.tensor_hash = "0123", .part = "rows 0+768 x 2048"};
  key.encoder = encoder;
  PartCurve curve{.formats = 1, .distortion = {}};
  curve.distortion.sum_squares = sum_squares;
  return {key, curve};
}

void put(const fs::path& path, const std::vector<Curve>& curves) {
  Study study(path);
  CurveTable(study).put("m.safetensors", kFirstFile, {}, curves);
}

class StudyPlaces : public ::testing::Test {
 protected:
  /// @return the status of a child limited to this many open files: an Error's code, or 0.
  static int with_files(rlim_t files, const std::function<void()>& action) {
    const pid_t child = fork();
    if (child == 0) {
      rlimit limit = {};
      getrlimit(RLIMIT_NOFILE, &limit);
      limit.rlim_cur = files;
      setrlimit(RLIMIT_NOFILE, &limit);
      try {
        action();
        _exit(0);
      } catch (const Error& error) {
        _exit(static_cast<int>(error.code()));
      } catch (...) {
        _exit(99);
      }
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

  testing::TempFolder folder_;
  fs::path path_ = folder_ / "ram.db";
};

// SQLite reports a log that it cannot open as a read-only folder.
TEST_F(StudyPlaces, TooFewFilesAreALimitOfTheSystemAndNoStudyThatIsOnlyRead) {
  if (RAM_SANITIZED) GTEST_SKIP() << "skipped: the sanitizer's own checks open files";
  const std::vector<Curve> curves = {curve_by(Encoder::kMlx, 1)};
  for (const bool there : {false, true}) {
    int refused = 0;
    for (rlim_t files = 3;; ++files) {
      ASSERT_LT(files, 200U) << "never ends";
      const int status = with_files(files, [&] { put(path_, curves); });
      if (status == 0) break;
      ++refused;
      EXPECT_EQ(status, static_cast<int>(Code::kMissing)) << there << " " << files;
      EXPECT_EQ(fs::exists(path_), there) << files;
    }
    EXPECT_GT(refused, 2) << there;
  }
}

TEST_F(StudyPlaces, AnEmptyNameIsAStudyThatIsKeptNowhere) {
  const std::vector<Curve> curves = {curve_by(Encoder::kMlx, 1)};
  const std::vector<CurveKey> keys = {curves[0].first};
  const fs::path before = fs::current_path();
  fs::current_path(folder_.path());
  {
    Study study{fs::path()};
    CurveTable(study).put("m.safetensors", kFirstFile, {}, curves);
    EXPECT_EQ(CurveTable(study).curves(keys).size(), 1U);
  }
  EXPECT_TRUE(fs::is_empty(folder_.path()));
  Study study{fs::path()};
  EXPECT_TRUE(CurveTable(study).curves(keys).empty());
  fs::current_path(before);
}

// A later program looks for curves by these names: with other names it would find none, or those of
// another encoder.
TEST_F(StudyPlaces, CurvesHaveTheNamesOfTheirEncodersInTheFile) {
  const std::vector<Curve> curves = {curve_by(Encoder::kMlx, 1), curve_by(Encoder::kSimulated, 2)};
  put(path_, curves);
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  const char* rename =
      "UPDATE curve SET encoder = 'third' WHERE encoder = 'mlx'; "
      "UPDATE curve SET encoder = 'mlx' WHERE encoder = 'reference'";
  EXPECT_EQ(sqlite3_exec(db, rename, nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(sqlite3_changes(db), 1);
  sqlite3_close(db);
  Study study(path_);
  const std::vector<CurveKey> keys = {curves[0].first, curves[1].first};
  const auto found = CurveTable(study).curves(keys);
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found.begin()->first.encoder, Encoder::kMlx);
  EXPECT_EQ(found.begin()->second.distortion.sum_squares, 2);
}

}  // namespace
}  // namespace ram
