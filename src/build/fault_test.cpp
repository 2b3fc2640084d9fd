// A disk that fails at any byte, a program that ends between any two steps, and limits of the
// system: OUT is the former folder, the new one, or absent, and the next run completes it.
#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/build.h"
#include "ram/file_fault.h"

#include "support/sanitizers.h"
#include "test_support.h"

namespace ram::testing {
namespace {

using ::testing::AnyOf;

using Files = std::map<std::string, std::string>;

/// An encoder whose codes all consist of one word: same size as MLX's codes, other values.
EncodedRowsFn other_codes(const Checkpoint& checkpoint, const Plan& plan) {
  return [&checkpoint, plan](int unit, int /*part*/, int64_t /*row*/, int64_t count,
                             uint32_t* codes, std::byte* scales, std::byte* biases) {
    const Unit& of = checkpoint.units[static_cast<size_t>(unit)];
    const AffineFormat format = *plan.units[static_cast<size_t>(unit)].format;
    const int64_t words = code_words(count * of.cols, format);
    const int64_t bytes = scale_bytes(count * of.cols, format, plan.dtype);
    std::fill(codes, codes + words, 0x12345678U);
    std::fill(scales, scales + bytes, std::byte{1});
    std::fill(biases, biases + bytes, std::byte{2});
  };
}

/// Makes folders in memory where the system can: these tests check the order of steps, and
/// thousands of steps would wait minutes for a disk.
class InMemory {
 public:
  InMemory() {
    const char* before = std::getenv("TMPDIR");
    if (before != nullptr) before_ = before;
    if (access("/dev/shm", W_OK | X_OK) == 0) setenv("TMPDIR", "/dev/shm", 1);
  }
  ~InMemory() { leave(); }
  InMemory(const InMemory&) = delete;
  InMemory& operator=(const InMemory&) = delete;

  void leave() {
    if (before_) {
      setenv("TMPDIR", before_->c_str(), 1);
    } else {
      unsetenv("TMPDIR");
    }
  }

 private:
  std::optional<std::string> before_;
};

/// Two plans with the same formats, so that every file of one has the size of the other's.
class Fault : public ::testing::Test {
 protected:
  Fault() : made({.hidden = 32, .layers = 1}) {
    made.options.max_shard_bytes = 9000;
    made.options.threads = 1;  // children are forked
    former = made.plan();
    next = former;
    next.encoder = next.request.encoder = Encoder::kSearch;
    made.settle(next);
    build(former, made.root / "former");
    build(next, made.root / "next");
    former_files = contents(made.root / "former");
    next_files = contents(made.root / "next");
    EXPECT_TRUE(former_files != next_files);
  }
  ~Fault() override { set_file_fault({}); }

  BuildOutcome build(const Plan& plan, const fs::path& place, Study* study = nullptr) {
    BuildOptions options = made.options;
    options.force = true;
    if (plan.encoder != Encoder::kMlx) options.encoded = other_codes(*made.checkpoint, plan);
    return build_folder(*made.checkpoint, plan, study != nullptr ? *study : *made.study, place,
                        options);
  }

  /// Runs an action in a child that has its own study. @return its status.
  template <typename Action>
  int in_child(const Action& action) {
    const pid_t child = fork();
    if (child == 0) {
      int status = 0;
      try {
        Study study(made.root / "study" / "ram.db");
        action(study);
      } catch (const std::exception& exception) {
        status = static_cast<int>(as_error(exception).code());
      }
      _exit(status);
    }
    int status = 0;
    EXPECT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFEXITED(status));
    return WEXITSTATUS(status);
  }

  void start_anew(bool with_former) {
    for (const char* name : {"out", ".out.ram-partial", "elsewhere"}) {
      fs::remove_all(made.root / name);
    }
    if (with_former) build(former, out);
  }

  InMemory memory;
  Made made;
  Plan former;
  Plan next;
  Files former_files;
  Files next_files;
  fs::path out = made.root / "out";
};

constexpr int kEnded = 77;

/// Ends a child before step `last` of its steps.
FileFault ending_at(int last, bool exchange) {
  return [last, exchange, step = 0](FileStep what, const fs::path&, int64_t&) mutable {
    if (step++ == last) _exit(kEnded);
    return what == FileStep::kExchange && !exchange ? ENOTSUP : 0;
  };
}

TEST_F(Fault, EndedBetweenAnyTwoStepsTheFolderIsOneOfTheTwo) {
  enum class Then { kAgain, kMovedAway, kOtherPlan };
  constexpr int kStride = RAM_SANITIZED ? 24 : 1;  // the optimized build tries every step
  int steps = 0;
  for (const bool with_former : {false, true}) {
    for (const bool exchange : {true, false}) {
      if (!with_former && !exchange) continue;  // nothing is exchanged
      for (const Then then : {Then::kAgain, Then::kMovedAway, Then::kOtherPlan}) {
        int last = kStride / 3 * static_cast<int>(then);  // other steps for each
        for (int status = kEnded; status == kEnded; last += kStride) {
          ASSERT_LT(last, 2000) << "never ends";
          start_anew(with_former);
          status = in_child([&](Study& study) {
            set_file_fault(ending_at(last, exchange));
            build(next, out, &study);
          });
          ASSERT_THAT(status, AnyOf(0, kEnded));
          SCOPED_TRACE(fmt::format("step {}, former {}, exchange {}, then {}", last, with_former,
                                   exchange, static_cast<int>(then)));
          if (fs::exists(out)) {
            const Files found = contents(out);
            ASSERT_TRUE(found == next_files || (with_former && found == former_files));
          } else {
            ASSERT_TRUE(!with_former || !exchange) << "only between two renames";
          }
          if (then == Then::kMovedAway && fs::exists(out)) {
            fs::rename(out, made.root / "elsewhere");
          }
          const Plan& plan = then == Then::kOtherPlan ? former : next;
          build(plan, out);
          ASSERT_TRUE(contents(out) == (then == Then::kOtherPlan ? former_files : next_files));
          build(plan, out);  // removes what the first run left, if it is still there
          ASSERT_FALSE(fs::exists(made.root / ".out.ram-partial"));
        }
        steps = std::max(steps, last);
      }
    }
  }
  EXPECT_GT(steps, 50);
}

TEST_F(Fault, AnyStepThatFailsLeavesTheFolderAsItWasAndIsMadeUpFor) {
  constexpr int kStride = RAM_SANITIZED ? 5 : 1;  // the optimized build tries every step
  for (const bool with_former : {false, true}) {
    {
      bool failed = true;
      for (int last = 0; failed; last += kStride) {
        ASSERT_LT(last, 2000) << "never ends";
        SCOPED_TRACE(fmt::format("step {}, former {}", last, with_former));
        start_anew(with_former);
        failed = false;
        int step = 0;
        set_file_fault([&](FileStep, const fs::path&, int64_t&) {
          if (step++ != last) return 0;
          failed = true;
          return step % 2 == 0 ? EIO : ENOSPC;
        });
        try {
          build(next, out);
        } catch (const Error& error) {
          EXPECT_EQ(error.code(), Code::kWriteFailed) << error.what();
        }
        set_file_fault({});
        if (fs::exists(out)) {
          const Files found = contents(out);
          ASSERT_TRUE(found == next_files || (with_former && found == former_files));
        } else {
          ASSERT_FALSE(with_former);
        }
        build(next, out);
        ASSERT_TRUE(contents(out) == next_files);
      }
    }
  }
}

/// A disk that accepts `room` more bytes and is then full.
FileFault disk_of(int64_t room) {
  return [room](FileStep step, const fs::path&, int64_t& bytes) mutable {
    if (step != FileStep::kWrite) return 0;
    if (room == 0) return ENOSPC;
    bytes = std::min(bytes, room);
    room -= bytes;
    return 0;
  };
}

// Every byte near the beginning or end of a write, and every 499th byte between (sanitized: every
// 4,999th).
TEST_F(Fault, ADiskThatIsFullAtAnyByteLosesNothing) {
  std::vector<int64_t> places = {0};
  int64_t total = 0;
  set_file_fault([&](FileStep step, const fs::path&, int64_t& bytes) {
    if (step == FileStep::kWrite) {
      for (const int64_t near : {-1, 0, 1}) places.push_back(std::max<int64_t>(0, total + near));
      total += bytes;
    }
    return 0;
  });
  start_anew(false);
  build(next, out);
  set_file_fault({});
  ASSERT_TRUE(contents(out) == next_files);
  constexpr int64_t kStep = RAM_SANITIZED ? 4999 : 499;
  for (int64_t at = 0; at < total; at += kStep) places.push_back(at);
  std::sort(places.begin(), places.end());
  places.erase(std::unique(places.begin(), places.end()), places.end());
  ASSERT_GT(total, 10'000);
  for (const int64_t place : places) {
    if (place >= total) continue;
    SCOPED_TRACE(fmt::format("byte {} of {}", place, total));
    start_anew(place % 2 == 0);
    const bool with_former = fs::exists(out);
    set_file_fault(disk_of(place));
    const Error error = error_of([&] { build(next, out); });
    set_file_fault({});
    ASSERT_EQ(error.code(), Code::kWriteFailed) << error.what();
    ASSERT_EQ(fs::exists(out), with_former);
    if (with_former) {
      ASSERT_TRUE(contents(out) == former_files);
    }
    build(next, out);
    ASSERT_TRUE(contents(out) == next_files);
    ASSERT_FALSE(fs::exists(made.root / ".out.ram-partial"));
  }
}

// From no open file allowed to enough of them: each limit gives a proper error.
TEST_F(Fault, TooFewOpenFilesAreAnErrorWithAnAnswer) {
  if (RAM_SANITIZED) GTEST_SKIP() << "skipped: the sanitizer's own checks open files";
  fs::remove_all(out);
  const auto at_most = [](rlim_t files, const auto& action) {
    rlimit before = {};
    if (getrlimit(RLIMIT_NOFILE, &before) != 0) _exit(kEnded);
    const rlimit limit = {.rlim_cur = files, .rlim_max = before.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0) _exit(kEnded);
    action();
  };
  const auto documented = AnyOf(static_cast<int>(Code::kUsage), static_cast<int>(Code::kMissing),
                                static_cast<int>(Code::kWriteFailed));
  int refused = 0;
  for (rlim_t files = 3;; ++files) {
    ASSERT_LT(files, 200U) << "never ends";
    const int status =
        in_child([&](Study& study) { at_most(files, [&] { build(next, out, &study); }); });
    if (status == 0) break;
    ++refused;
    EXPECT_THAT(status, documented) << files;
    EXPECT_FALSE(fs::exists(out)) << files;
  }
  EXPECT_TRUE(contents(out) == next_files);
  EXPECT_GT(refused, 0);
  int unread = 0;
  for (rlim_t files = 3;; ++files) {
    ASSERT_LT(files, 200U) << "never ends";
    const int status = in_child([&](Study&) {
      at_most(files, [&] {
        const VerifyReport report = verify_folder(out, nullptr, nullptr, 1);
        if (!report.problems.empty()) _exit(kEnded);  // a whole folder has none
      });
    });
    if (status == 0) break;
    ++unread;
    EXPECT_THAT(status, documented) << files;
  }
  EXPECT_GT(unread, 0);
}

TEST_F(Fault, TwoWritersOfOneFolderAreOneAfterTheOther) {
  constexpr int kWriters = 6;
  start_anew(false);
  std::vector<pid_t> children;
  for (int i = 0; i < kWriters; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      int status = 0;
      try {
        Study study(made.root / "study" / "ram.db");
        build(i % 2 == 0 ? next : former, out, &study);
      } catch (const std::exception& exception) {
        status = static_cast<int>(as_error(exception).code());
      }
      _exit(status);
    }
    children.push_back(child);
  }
  int written = 0;
  for (const pid_t child : children) {
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status));
    EXPECT_THAT(WEXITSTATUS(status), AnyOf(0, static_cast<int>(Code::kUsage)));
    written += WEXITSTATUS(status) == 0 ? 1 : 0;
  }
  EXPECT_GE(written, 1);
  const Files found = contents(out);
  EXPECT_TRUE(found == next_files || found == former_files);
  EXPECT_FALSE(fs::exists(made.root / ".out.ram-partial"));
}

}  // namespace
}  // namespace ram::testing
