// Runs that are killed, interrupted or started twice at the same time produce the same curves, and
// lose nothing that was kept.
#include <chrono>
#include <csignal>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/resource.h>

#include "ram/cancellation.h"
#include "ram/progress.h"

#include "test_support.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using testing::error_of;

std::string ask(const fs::path& path, const char* sql) {
  sqlite3* db = nullptr;
  if (sqlite3_open(path.c_str(), &db) != SQLITE_OK) return "cannot open";
  std::string answer;
  const auto keep = [](void* out, int, char** values, char**) {
    *static_cast<std::string*>(out) += values[0];
    return 0;
  };
  sqlite3_exec(db, sql, keep, &answer, nullptr);
  sqlite3_close(db);
  return answer;
}

std::string integrity(const fs::path& path) {
  return ask(path, "PRAGMA integrity_check");
}

void wait_at_most(std::mt19937& random, std::chrono::microseconds most) {
  std::uniform_int_distribution<int64_t> draw(0, most.count());
  std::this_thread::sleep_for(std::chrono::microseconds(draw(random)));
}

class ResumeTest : public CurveTest {
 protected:
  /// A program that analyzes the model into the study.
  pid_t start_program(const fs::path& study, int threads) {
    return start_child([this, study, threads] {
      Study own(study);
      run(own, {.threads = threads, .keep_every_s = 0});
      return 0;
    });
  }

  /// How long such a program takes undisturbed.
  std::chrono::microseconds time_program() {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(wait_for(start_program(folder_ / "timed.db", 2)), 0);
    const auto passed = std::chrono::steady_clock::now() - start;
    return std::chrono::duration_cast<std::chrono::microseconds>(passed);
  }
};

TEST_F(ResumeTest, ARunKilledAtAnyInstantGoesOnWhereItWas) {
  write(small_model());
  const ModelCurves unbroken = run_fresh();
  const int64_t tensors = stats_.tensors_measured;
  const auto whole = time_program();
  std::mt19937 random(7);
  for (int round = 0; round < 6; ++round) {
    const fs::path path = folder_ / fmt::format("killed{}.db", round);
    const int last_call = 4 + 3 * round;
    const pid_t first = start_child([&] {
      Study study(path);
      int calls = 0;
      const ProgressFn die = [&](const Progress&) {
        // Not before a worker has kept something, however fast the workers are.
        if (++calls < last_call) return;
        if (ask(path, "SELECT count(*) FROM tensor") != "0") kill(getpid(), SIGKILL);
      };
      analyze(open(), study, {.threads = 1 + round % 3, .keep_every_s = 0}, die);
      return 0;
    });
    EXPECT_EQ(wait_for(first), -1) << "it finished before it could be killed";
    ASSERT_EQ(integrity(path), "ok");
    if (round % 2 != 0) {
      const pid_t second = start_program(path, 2);
      wait_at_most(random, whole);
      kill(second, SIGKILL);
      wait_for(second);
      ASSERT_EQ(integrity(path), "ok");
    }
    Study study(path);
    expect_same(unbroken, run(study, {.threads = 2}));
    EXPECT_GT(stats_.tensors_known, 0) << "what was kept is not found";
    EXPECT_EQ(stats_.tensors_measured, tensors - stats_.tensors_known);
    if (round % 2 == 0) {
      EXPECT_GT(stats_.tensors_measured, 0);
    }
    run(study);
    EXPECT_EQ(stats_.bytes_read, 0);
  }
}

TEST_F(ResumeTest, ProgramsOnOneStudyEndInTheSameCurvesThoughSomeAreKilled) {
  write(small_model());
  const ModelCurves alone = run_fresh();
  const auto whole = time_program();
  std::mt19937 random(11);
  for (int round = 0; round < 4; ++round) {
    const fs::path path = folder_ / fmt::format("shared{}.db", round);
    const pid_t first = start_program(path, 2);
    const pid_t second = start_program(path, 1);
    wait_at_most(random, whole * 3 / 2);
    kill(first, SIGKILL);
    wait_for(first);
    if (round % 2 == 0) kill(second, SIGKILL);
    EXPECT_EQ(wait_for(second), round % 2 == 0 ? -1 : 0);
    ASSERT_EQ(integrity(path), "ok");
    Study study(path);
    expect_same(alone, run(study));
    if (round % 2 != 0) {
      EXPECT_EQ(stats_.bytes_read, 0) << "the second has done it all";
    }
  }
}

TEST_F(ResumeTest, TwoUndisturbedProgramsAgree) {
  write(small_model());
  const fs::path path = folder_ / "ram.db";
  const pid_t first = start_program(path, 2);
  const pid_t second = start_program(path, 2);
  EXPECT_EQ(wait_for(first), 0);
  EXPECT_EQ(wait_for(second), 0);
  EXPECT_EQ(integrity(path), "ok");
  Study study(path);
  const ModelCurves shared = run(study);
  EXPECT_EQ(stats_.bytes_read, 0);
  expect_same(shared, run_fresh());
}

TEST_F(ResumeTest, AnInterruptedRunKeepsWhatIsDone) {
  write(small_model());
  const fs::path path = folder_ / "ram.db";
  {
    const Cancellation cancellation;
    const CancelScope scope(cancellation);
    Study study(path);
    int calls = 0;
    const ProgressFn stop = [&](const Progress&) {
      if (++calls == 9) cancellation.request();
    };
    const Error error = error_of([&] { analyze(open(), study, {.keep_every_s = 1e9}, stop); });
    EXPECT_EQ(error.code(), Code::kInterrupted);
  }
  Study study(path);
  const ModelCurves curves = run(study);
  EXPECT_EQ(stats_.tensors_known, 9);
  expect_same(curves, run_fresh());
}

TEST_F(ResumeTest, AFullDiskEndsTheRunAndTheNextGoesOn) {
  write(small_model());
  const fs::path path = folder_ / "ram.db";
  const int status = wait_for(start_child([&] {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{.rlim_cur = 150'000, .rlim_max = 150'000};
    setrlimit(RLIMIT_FSIZE, &limit);
    Study study(path);
    const Error error = error_of([&] { run(study, {.keep_every_s = 0}); });
    return error.code() == Code::kWriteFailed ? 0 : 1;
  }));
  EXPECT_EQ(status, 0);
  Study study(path);
  const ModelCurves curves = run(study);
  EXPECT_GT(stats_.tensors_known, 0);
  EXPECT_GT(stats_.tensors_measured, 0);
  expect_same(curves, run_fresh());
}

}  // namespace
}  // namespace ram
