// A failed build keeps its finished shards for the next one, unless they may be wrong.
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/build.h"
#include "ram/progress.h"

#include "staging.h"
#include "support/sanitizers.h"
#include "test_support.h"

namespace ram::testing {
namespace {

using ::testing::HasSubstr;

class Kept : public ::testing::Test {
 protected:
  Kept() : made({.hidden = 64}) {
    made.options.max_shard_bytes = 9000;
    plan = made.plan();
  }

  /// Reopens the source in its current state.
  void open_again() {
    made.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(made.source.string()));
    made.settle(plan);
  }

  Made made;
  Plan plan;
  fs::path out = made.root / "out";
  fs::path work = made.root / ".out.ram-partial";
};

/// A source that changes during the build: nothing is published.
TEST_F(Kept, ASourceThatChangesIsNeverPublished) {
  write_file_atomic(made.source / "tokenizer.json", "{}");
  const auto written_meanwhile = [&](const fs::path& changed, const std::string& text) {
    const Checkpoint checkpoint = Checkpoint::open(made.source.string());
    Plan ours = plan;
    made.settle(ours, checkpoint);
    bool done = false;
    const Error error = error_of([&] {
      build_folder(checkpoint, ours, *made.study, out, made.options, [&](const Progress&) {
        if (!std::exchange(done, true)) write_file_atomic(changed, text);
      });
    });
    EXPECT_EQ(error.code(), Code::kCorrupt) << changed;
    EXPECT_THAT(error.what(), HasSubstr(changed.filename().string()));
    EXPECT_FALSE(fs::exists(out)) << changed;
    // Finished shards are right as long as the weights are.
    EXPECT_EQ(fs::exists(work), changed.extension() != ".safetensors") << changed;
  };
  for (const auto& entry : fs::directory_iterator(made.source)) {
    // The same text again: what was read in between is unknown.
    written_meanwhile(entry.path(), read_text_file(entry.path(), int64_t{1} << 30));
  }
  const std::string weights = "model.safetensors";
  std::string text = read_text_file(made.source / weights, int64_t{1} << 30);
  text.back() = static_cast<char>(text.back() ^ 1);
  written_meanwhile(made.source / weights, text);
}

TEST_F(Kept, AReadmeThatChangesEndsNothing) {
  write_file_atomic(made.source / "README.md", "# Model");
  open_again();
  const auto edit = [&](const Progress&) {
    write_file_atomic(made.source / "README.md", "# Model, explained");
  };
  EXPECT_EQ(made.build(plan, out, edit), BuildOutcome::kWritten);
}

TEST_F(Kept, ATokenizerThatChangesCostsNoFinishedShard) {
  write_file_atomic(made.source / "tokenizer.json", "{}");
  open_again();
  const auto edit = [&](const Progress&) {
    write_file_atomic(made.source / "tokenizer.json", "{ }");
  };
  const Error error = error_of([&] { made.build(plan, out, edit); });
  EXPECT_EQ(error.code(), Code::kCorrupt);
  EXPECT_THAT(error.what(), HasSubstr("tokenizer.json"));
  write_file_atomic(made.source / "tokenizer.json", "{}");
  open_again();
  int64_t written = 0;
  made.build(plan, out, [&](const Progress& progress) {
    if (progress.phase == std::string("write")) written = progress.total;
  });
  EXPECT_EQ(written, 0);
}

TEST(KeptState, AStateThatCannotBeReadNowLosesNothing) {
  if (RAM_SANITIZED) GTEST_SKIP() << "skipped: the sanitizer's own checks open files";
  const TempFolder root;
  const OutPaths place = resolve_out_folder(root / "OUT");
  fs::create_directories(place.work / "folder");
  write_file_atomic(place.work / "folder" / "a.safetensors", "0123456789");
  write_file_atomic(place.work / "state.json",
                    R"({"ram_build": 1, "key": "key",
                        "files": {"a.safetensors": {"bytes": 10, "digest": "d"}}})");
  int refused = 0;
  for (rlim_t files = 3;; ++files) {
    ASSERT_LT(files, 200U) << "never ends";
    const pid_t child = fork();
    if (child == 0) {
      rlimit limit = {};
      getrlimit(RLIMIT_NOFILE, &limit);
      limit.rlim_cur = files;
      setrlimit(RLIMIT_NOFILE, &limit);
      try {
        const Staging staging(place, "key");
        _exit(staging.finished_bytes() == 10 ? 0 : 1);
      } catch (const Error&) {
        _exit(2);
      }
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFEXITED(status)) << files;
    ASSERT_NE(WEXITSTATUS(status), 1) << files;
    EXPECT_TRUE(fs::exists(place.work / "folder" / "a.safetensors")) << files;
    if (WEXITSTATUS(status) == 0) break;
    ++refused;
  }
  EXPECT_GT(refused, 1);
}

}  // namespace
}  // namespace ram::testing
