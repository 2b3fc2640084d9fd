// The study: stored data is read back exactly; foreign files, other versions and full disks are
// distinguished.
#include <algorithm>
#include <array>
#include <csignal>
#include <fstream>
#include <functional>
#include <optional>

#include <fcntl.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/machine.h"
#include "ram/study_table.h"

#include "support/error_of.h"
#include "support/ordinary_user.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using testing::error_of;

constexpr int kTextBytes = 150;

std::string key_of(int number) {
  return fmt::format("{:032x}", number);
}

std::string text_of(int number) {
  return fmt::format("{:0{}}", number, kTextBytes);
}

// Rows represent what modules keep in their tables: a few hundred bytes under a key. All in one
// transaction.
void put_rows(Study& study, int first, int count) {
  Study::Transaction transaction(study);
  const int64_t run = transaction.run();
  Study::Statement insert(transaction,
                          "INSERT INTO document (kind, key, text, run) VALUES ('row', ?, ?, ?)");
  for (int i = first; i < first + count; ++i) insert.bind(key_of(i), text_of(i), run).run();
  transaction.commit();
}

void put_rows(const fs::path& path, int first, int count) {
  Study study(path);
  put_rows(study, first, count);
}

// How many of the rows are present and unchanged.
int rows_in(Study& study, int first, int count) {
  Study::Statement find(study, "SELECT text FROM document WHERE kind = 'row' AND key = ?");
  int found = 0;
  for (int i = first; i < first + count; ++i) {
    if (!find.bind(key_of(i)).step()) continue;
    found += find.text(0) == text_of(i) ? 1 : 0;
    find.reset();
  }
  return found;
}

int rows_in(const fs::path& path, int first, int count) {
  Study study(path);
  return rows_in(study, first, count);
}

std::string content(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void run_sql(const fs::path& path, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, &message), SQLITE_OK) << message;
  sqlite3_free(message);
  sqlite3_close(db);
}

std::string integrity(const fs::path& path) {
  sqlite3* db = nullptr;
  if (sqlite3_open(path.c_str(), &db) != SQLITE_OK) return "cannot open";
  std::string answer;
  const auto keep = [](void* out, int, char** values, char**) {
    *static_cast<std::string*>(out) += values[0];
    return 0;
  };
  sqlite3_exec(db, "PRAGMA integrity_check", keep, &answer, nullptr);
  sqlite3_exec(db, "PRAGMA foreign_key_check", keep, &answer, nullptr);
  sqlite3_close(db);
  return answer;
}

// Runs an action in a child. @return its exit status: the action's result, 99 if it threw.
int in_child(const std::function<int()>& action) {
  const pid_t child = fork();
  if (child == 0) {
    int status = 99;
    try {
      status = action();
    } catch (...) {
    }
    _exit(status);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class StudyTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  fs::path path_ = folder_ / "ram.db";
};

TEST_F(StudyTest, AFileThatIsNoStudyIsRefusedAndLeftAsItIs) {
  std::ofstream(path_) << std::string(5000, 'x');
  const std::string text = content(path_);
  EXPECT_EQ(error_of([&] { Study study(path_); }).code(), Code::kCorrupt);
  EXPECT_EQ(content(path_), text);

  const fs::path other = folder_ / "other.db";
  run_sql(other, "CREATE TABLE mine (x); INSERT INTO mine VALUES (1)");
  const std::string bytes = content(other);
  const Error error = error_of([&] { Study study(other); });
  EXPECT_EQ(error.code(), Code::kCorrupt);
  EXPECT_NE(std::string(error.what()).find("other.db"), std::string::npos);
  EXPECT_EQ(content(other), bytes);
  EXPECT_FALSE(fs::exists(folder_ / "other.db-wal"));
}

TEST_F(StudyTest, ALaterVersionIsUnsupportedAndNotTouched) {
  { Study study(path_); }
  run_sql(path_, "PRAGMA user_version = 99");
  EXPECT_EQ(error_of([&] { Study study(path_); }).code(), Code::kUnsupported);
  run_sql(path_, "PRAGMA user_version = 5");
  EXPECT_NO_THROW(Study study(path_));
}

TEST_F(StudyTest, ADamagedStudyIsCorruptWhereverTheDamageIs) {
  put_rows(path_, 0, 3000);
  const std::string whole = content(path_);
  ASSERT_GT(whole.size(), 100'000U);
  const auto outcome = [&](const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc) << bytes;
    std::optional<Code> code;
    try {
      Study study(path_);
      if (rows_in(study, 0, 3000) != 3000) fail(Code::kUsage, "silently lost");
    } catch (const Error& error) {
      code = error.code();
    }
    return code;
  };
  EXPECT_EQ(outcome(whole), std::nullopt);
  for (const size_t size : {whole.size() / 2, size_t{5000}, size_t{100}}) {
    EXPECT_EQ(outcome(whole.substr(0, size)), Code::kCorrupt) << "cut to " << size;
  }
  for (size_t at = 0; at + 4096 <= whole.size(); at += whole.size() / 7 / 4096 * 4096) {
    std::string damaged = whole;
    std::fill_n(damaged.begin() + static_cast<std::ptrdiff_t>(at), 4096, '\xa5');
    const std::optional<Code> code = outcome(damaged);
    // Damage to a page of other tables has no effect here.
    EXPECT_TRUE(!code || code == Code::kCorrupt) << "page at " << at;
  }
}

TEST_F(StudyTest, PlacesThatCannotHoldAStudyAreNamed) {
  EXPECT_EQ(error_of([&] { Study study(folder_.path()); }).code(), Code::kMissing);
  const Error error = error_of([&] { Study study(folder_ / "no" / "ram.db"); });
  EXPECT_EQ(error.code(), Code::kWriteFailed);
  EXPECT_NE(std::string(error.what()).find("ram.db"), std::string::npos);
}

TEST_F(StudyTest, InAReadOnlyFolderAStudyIsReadAndWritingItFails) {
  put_rows(path_, 0, 10);
  ASSERT_FALSE(fs::exists(folder_ / "ram.db-wal"));
  chmod(path_.c_str(), 0444);
  chmod(folder_.path().c_str(), 0555);
  const std::optional<int> status = testing::as_ordinary_user([&] {
    Study study(path_);
    if (rows_in(study, 0, 10) != 10) return 1;
    const auto code = [](const std::function<void()>& action) { return error_of(action).code(); };
    if (code([&] { put_rows(study, 20, 1); }) != Code::kWriteFailed) {
      return 2;
    }
    study.put_document({.kind = "row", .key = key_of(0), .text = text_of(0)});  // exists already
    const Error created = error_of([&] { Study other(folder_ / "new.db"); });
    if (created.code() != Code::kWriteFailed) return 3;
    if (std::string_view(created.what()).find("Permission denied") == std::string_view::npos) {
      return 4;
    }
    return 0;
  });
  chmod(folder_.path().c_str(), 0755);
  if (!status) GTEST_SKIP() << "skipped: root cannot become another user";
  EXPECT_EQ(status, 0);
}

TEST_F(StudyTest, InAReadOnlyFolderWorkThatIsOnlyInTheLogIsNotPassedOver) {
  const fs::path folder = folder_ / "100% sure? #1";  // characters with a meaning in URIs
  fs::create_directory(folder);
  {
    Study study(path_);
    put_rows(study, 0, 10);
    fs::copy_file(path_, folder / "ram.db");
    fs::copy_file(path_.string() + "-wal", folder / "ram.db-wal");
  }
  fs::copy_file(path_, folder / "merged.db");
  chmod(folder_.path().c_str(), 0755);
  chmod(folder.c_str(), 0555);
  const std::optional<int> status = testing::as_ordinary_user([&] {
    if (rows_in(folder / "merged.db", 0, 10) != 10) return 1;
    return error_of([&] { Study study(folder / "ram.db"); }).code() == Code::kMissing ? 0 : 2;
  });
  chmod(folder.c_str(), 0755);
  if (!status) GTEST_SKIP() << "skipped: root cannot become another user";
  EXPECT_EQ(status, 0);
  EXPECT_EQ(rows_in(folder / "ram.db", 0, 10), 10);
}

TEST_F(StudyTest, AnUnreadableStudyIsMissing) {
  { Study study(path_); }
  chmod(path_.c_str(), 0);
  chmod(folder_.path().c_str(), 0755);
  const std::optional<int> status = testing::as_ordinary_user(
      [&] { return error_of([&] { Study study(path_); }).code() == Code::kMissing ? 0 : 1; });
  if (!status) GTEST_SKIP() << "skipped: root cannot become another user";
  EXPECT_EQ(status, 0);
}

TEST_F(StudyTest, OnAFullDiskNothingOfTheFailedPutIsKeptAndAllBeforeIs) {
  put_rows(path_, 0, 10);
  const int status = in_child([&] {
    // A limit on the file's size simulates a full disk.
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = 400'000, .rlim_max = 400'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    Study study(path_);
    const Error error = error_of([&] { put_rows(study, 100, 20'000); });
    if (error.code() != Code::kWriteFailed) return 1;
    if (rows_in(study, 100, 20'000) != 0) return 2;
    put_rows(study, 10, 10);
    return 0;
  });
  EXPECT_EQ(status, 0);
  EXPECT_EQ(rows_in(path_, 0, 20'000), 20);
  EXPECT_EQ(integrity(path_), "ok");
}

TEST_F(StudyTest, ReadersAreNotHeldUpByAWriter) {
  Study study(path_);
  put_rows(study, 0, 10);
  sqlite3* writer = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &writer), SQLITE_OK);
  ASSERT_EQ(
      sqlite3_exec(writer, "BEGIN IMMEDIATE; DELETE FROM document", nullptr, nullptr, nullptr),
      SQLITE_OK);
  EXPECT_EQ(rows_in(study, 0, 10), 10);
  EXPECT_EQ(rows_in(path_, 0, 10), 10);
  sqlite3_close(writer);
}

TEST_F(StudyTest, WritersKilledAtAnyInstantLeaveAWholeStudyAndEveryFinishedPut) {
  constexpr int kRounds = 6;
  for (int round = 0; round < kRounds; ++round) {
    std::array<pid_t, 3> writers{};
    std::array<std::array<int, 2>, 3> pipes{};
    for (size_t w = 0; w < writers.size(); ++w) {
      ASSERT_EQ(pipe(pipes[w].data()), 0);
      writers[w] = fork();
      if (writers[w] != 0) continue;
      try {
        Study study(path_);
        for (int i = 0;; ++i) {
          const int first = static_cast<int>(w) * 1'000'000 + round * 10'000 + i * 5;
          put_rows(study, first, 5);
          if (write(pipes[w][1], &first, sizeof first) != sizeof first) _exit(1);
        }
      } catch (...) {
        _exit(1);
      }
    }
    usleep(static_cast<useconds_t>(1000 + round * 8000));
    for (size_t w = 0; w < writers.size(); ++w) {
      kill(writers[w], SIGKILL);
      int status = 0;
      waitpid(writers[w], &status, 0);
      EXPECT_TRUE(WIFSIGNALED(status)) << "writer " << w << " failed before it was killed";
      // The other writers have copies of the pipe's write end, so there is no end of file: do not
      // wait for it.
      fcntl(pipes[w][0], F_SETFL, O_NONBLOCK);
      Study study(path_);
      int first = 0;
      while (read(pipes[w][0], &first, sizeof first) == sizeof first) {
        ASSERT_EQ(rows_in(study, first, 5), 5) << "a finished put is lost";
      }
      close(pipes[w][0]);
      close(pipes[w][1]);
    }
    ASSERT_EQ(integrity(path_), "ok");
  }
}

TEST_F(StudyTest, ProgramsThatCreateOneStudyAtTheSameTimeAllSucceed) {
  for (int round = 0; round < 4; ++round) {
    const fs::path path = folder_ / fmt::format("race{}.db", round);
    std::array<pid_t, 4> children{};
    for (size_t c = 0; c < children.size(); ++c) {
      children[c] = fork();
      if (children[c] != 0) continue;
      try {
        put_rows(path, static_cast<int>(c), 1);
        _exit(0);
      } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        _exit(1);
      }
    }
    for (const pid_t child : children) {
      int status = 0;
      waitpid(child, &status, 0);
      EXPECT_EQ(status, 0);
    }
    EXPECT_EQ(rows_in(path, 0, 4), 4);
  }
}

TEST_F(StudyTest, EveryRowSaysWhichProgramMadeItAndWhatWasAsked) {
  Study study(path_);
  study.set_options("analyze --encoder mlx");
  put_rows(study, 0, 2);
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path_.c_str(), &db), SQLITE_OK);
  std::string answer;
  const auto keep = [](void* out, int, char** values, char**) {
    *static_cast<std::string*>(out) += values[0] + std::string("|") + values[1] + ";";
    return 0;
  };
  sqlite3_exec(db, "SELECT program, options FROM document JOIN run ON run.id = document.run", keep,
               &answer, nullptr);
  sqlite3_close(db);
  const std::string row = "ram " RAM_VERSION "|analyze --encoder mlx;";
  EXPECT_EQ(answer, row + row);
}

TEST_F(StudyTest, DocumentsAndRunsAreListed) {
  {
    Study study(path_);
    study.set_options("compare");
    study.put_document({.kind = "plan", .key = "bb", .text = "old"});
    study.put_document({.kind = "plan", .key = "bb", .text = "new"});
    study.put_document({.kind = "curves", .key = "bb", .text = "other"});
  }
  Study study(path_);
  const auto plans = study.documents("plan");
  ASSERT_EQ(plans.size(), 1U);
  EXPECT_EQ(plans[0].text, "new");
  EXPECT_TRUE(study.documents("sweep").empty());
  ASSERT_EQ(study.runs().size(), 1U);
  EXPECT_EQ(study.runs()[0].options, "compare");
  EXPECT_EQ(study.runs()[0].machine, machine_name());
  EXPECT_GE(study.runs()[0].last_write_ms, study.runs()[0].started_ms);
}

}  // namespace
}  // namespace ram
