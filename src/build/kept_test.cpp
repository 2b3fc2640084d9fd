// What a build that fails keeps for the next one: finished shards, unless they may be wrong.
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/build.h"

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

  /// Opens the source as it is now.
  void open_again() {
    made.checkpoint = std::make_unique<Checkpoint>(Checkpoint::open(made.source.string()));
    made.settle(plan);
  }

  Made made;
  Plan plan;
  fs::path out = made.root / "out";
  fs::path work = made.root / ".out.ram-partial";
};

/// A source that changes at a moment of the build: nothing is published.
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
    // The same text again: what was read of it in between is not known.
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
    if (progress.phase == std::string("write")) written = progress.total_bytes;
  });
  EXPECT_EQ(written, 0);
}

}  // namespace
}  // namespace ram::testing
