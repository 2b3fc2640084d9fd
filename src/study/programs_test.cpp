// Several programs using one study: concurrent writers, one that waits, an upgrade while another
// program reads, and an old study that cannot be upgraded.
#include <array>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/study_table.h"

#include "support/ordinary_user.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

class Programs : public ::testing::Test {
 protected:
  /// @return the exit status of a child that does this; 99 if it throws.
  static pid_t start(const std::function<void()>& action) {
    const pid_t child = fork();
    if (child != 0) return child;
    try {
      action();
      _exit(0);
    } catch (const std::exception& error) {
      fmt::print(stderr, "{}\n", error.what());
      _exit(99);
    }
  }
  static int wait_for(pid_t child) {
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  void sql(const char* text) const {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
    char* error = nullptr;
    EXPECT_EQ(sqlite3_exec(db, text, nullptr, nullptr, &error), SQLITE_OK) << error;
    sqlite3_close(db);
  }
  /// Turns it into a study of the schema version before documents existed.
  void make_old() const {
    sql("DROP TABLE document; DROP TABLE task_answer; DROP TABLE task; PRAGMA user_version = 3");
    sql("ALTER TABLE run DROP COLUMN machine; ALTER TABLE run DROP COLUMN last_write_ms");
  }

  testing::TempFolder folder_;
  fs::path path_ = folder_ / "ram.db";
};

TEST_F(Programs, ThatChangeOneDocumentLoseNothingOfEachOther) {
  constexpr int kLines = 100;
  { const Study made(path_); }
  std::array<pid_t, 3> children{};
  for (size_t c = 0; c < children.size(); ++c) {
    children[c] = start([&] {
      Study study(path_);
      for (int line = 0; line < kLines; ++line) {
        study.change_document("k", "key", [&](const std::string& text) {
          return text + fmt::format("{}-{}\n", c, line);
        });
      }
    });
  }
  for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
  const std::string text = Study(path_).documents("k").at(0).text;
  for (size_t c = 0; c < children.size(); ++c) {
    for (int line = 0; line < kLines; ++line) {
      EXPECT_NE(text.find(fmt::format("{}-{}\n", c, line)), std::string::npos) << c << " " << line;
    }
  }
}

TEST_F(Programs, AChangeThatThrowsChangesNothing) {
  Study study(path_);
  study.put_document({.kind = "k", .key = "a", .text = "as it was"});
  EXPECT_THROW(
      study.change_document(
          "k", "a", [](const std::string&) -> std::string { throw std::runtime_error("stop"); }),
      std::runtime_error);
  EXPECT_EQ(study.documents("k").at(0).text, "as it was");
  study.change_document("k", "b", [](const std::string& text) { return text + "new"; });
  EXPECT_EQ(study.documents("k").at(1).text, "new");
}

TEST_F(Programs, AWriterWaitsForAnother) {
  Study study(path_);
  study.put_document({.kind = "k", .key = "a", .text = "1"});
  const pid_t holder = start([&] {
    sqlite3* db = nullptr;
    if (sqlite3_open(path_.c_str(), &db) != SQLITE_OK) _exit(1);
    if (sqlite3_exec(db, "BEGIN IMMEDIATE; UPDATE document SET text = '2'", nullptr, nullptr,
                     nullptr) != SQLITE_OK) {
      _exit(2);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(1200));
    _exit(sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK ? 0 : 3);
  });
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  // Concurrent reads see what was committed; a change waits, then sees the other program's.
  EXPECT_EQ(study.documents("k").at(0).text, "1");
  study.change_document("k", "a", [](const std::string& text) { return text + "3"; });
  EXPECT_EQ(wait_for(holder), 0);
  EXPECT_EQ(study.documents("k").at(0).text, "23");
}

TEST_F(Programs, AnUpgradeGoesOnWhileAnotherReads) {
  {
    Study study(path_);
    Study::Transaction transaction(study);
    Study::Statement(transaction,
                     "INSERT INTO calibration_text (fingerprint, spec, digest, row_length, ids, "
                     "run) VALUES ('f', 's', 'd', 1, x'07000000', ?)")
        .bind(transaction.run())
        .run();
    transaction.commit();
  }
  make_old();
  sqlite3* reader = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &reader), SQLITE_OK);
  sqlite3_stmt* rows = nullptr;
  ASSERT_EQ(sqlite3_prepare_v2(reader, "SELECT ids FROM calibration_text", -1, &rows, nullptr),
            SQLITE_OK);
  ASSERT_EQ(sqlite3_step(rows), SQLITE_ROW);  // reading is in progress
  std::array<pid_t, 3> children{};
  for (size_t c = 0; c < children.size(); ++c) {
    children[c] = start([&] {
      Study study(path_);
      study.put_document({.kind = "k", .key = fmt::format("{}", c), .text = "t"});
    });
  }
  for (const pid_t child : children) EXPECT_EQ(wait_for(child), 0);
  EXPECT_EQ(sqlite3_step(rows), SQLITE_DONE);
  sqlite3_finalize(rows);
  sqlite3_close(reader);
  Study study(path_);
  EXPECT_EQ(study.documents("k").size(), 3U);
  Study::Statement kept(study, "SELECT count(*) FROM calibration_text");
  ASSERT_TRUE(kept.step());
  EXPECT_EQ(kept.number(0), 1);
}

// Finished work must not be lost silently.
TEST_F(Programs, AnOldStudyThatCannotBeWrittenRefusesDocuments) {
  { const Study made(path_); }
  make_old();
  chmod(path_.c_str(), 0444);
  chmod(folder_.path().c_str(), 0555);
  const std::optional<int> status = testing::as_ordinary_user([&] {
    Study study(path_);
    try {
      study.put_document({.kind = "k", .key = "a", .text = "t"});
      return 1;
    } catch (const Error& error) {
      return error.code() == Code::kWriteFailed && study.documents("k").empty() ? 0 : 2;
    }
  });
  chmod(folder_.path().c_str(), 0755);
  if (!status) GTEST_SKIP() << "skipped: root cannot become another user";
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace ram
