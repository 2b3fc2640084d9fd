// Questions that unpack to more than the available memory are rejected while they are read.
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <zlib.h>

#include "ram/error.h"
#include "ram/tasks.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMega = int64_t{1} << 20;

class DataMemoryTest : public ::testing::Test {
 protected:
  /// Writes pieces one after another, compressed.
  void write(int64_t pieces, const std::function<std::string(int64_t)>& piece) const {
    gzFile out = gzopen(file_.c_str(), "wb");
    for (int64_t i = 0; i < pieces; ++i) {
      const std::string text = piece(i);
      ASSERT_EQ(gzwrite(out, text.data(), static_cast<unsigned>(text.size())),
                static_cast<int>(text.size()));
    }
    gzclose(out);
  }
  Error error_of(int64_t memory) const {
    try {
      load_task("choice", file_, {.memory_bytes = memory});
    } catch (const Error& error) {
      return error;
    }
    return {Code{}, "no error"};
  }

  testing::TempFolder folder_;
  fs::path file_ = folder_ / "own.jsonl.gz";
};

std::string question(int64_t i) {
  return "{\"question\": \"" + std::to_string(i) +
         "?\", \"choices\": [\"b\", \"c\"], \"answer\": 1}\n";
}

TEST_F(DataMemoryTest, ManyQuestionsAreRefusedByWhatTheyTakeAsQuestions) {
  write(20'000, question);
  EXPECT_LT(fs::file_size(file_), 200'000U);
  EXPECT_EQ(error_of(kMega).code(), Code::kUsage);
  const TaskData data = load_task("choice", file_, {.memory_bytes = 200 * kMega});
  EXPECT_EQ(data.questions.size(), 20'000U);
  // At least the size of the texts and structures, and not far more.
  EXPECT_GT(data.bytes, 20'000 * static_cast<int64_t>(sizeof(TaskQuestion)));
  EXPECT_LT(data.bytes, 20'000 * 2000);
}

// A line without an end: one of text and one of values, each larger in memory than in the file.
TEST_F(DataMemoryTest, OneLineIsRefusedBeforeItIsHeld) {
  write(200, [&](int64_t) { return std::string(static_cast<size_t>(kMega), ' '); });
  const Error blank = error_of(4 * kMega);
  EXPECT_EQ(blank.code(), Code::kUsage) << blank.what();
  std::string ones;
  for (int i = 0; i < 200'000; ++i) ones += "1,";
  write(60, [&](int64_t i) { return (i == 0 ? "{\"a\": [" : "") + ones; });
  EXPECT_EQ(error_of(16 * kMega).code(), Code::kUsage);
  write(1, [&](int64_t) { return "{\"question\": [" + ones + "1]}\n"; });
  EXPECT_EQ(error_of(64 * kMega).code(), Code::kCorrupt);  // it fits, but is not a question
}

// Empty objects and lists take three bytes in the file, and fifty or more in memory.
TEST_F(DataMemoryTest, WhatHoldsNothingIsCountedToo) {
  for (const std::string empty : {"{},", "[],"}) {
    std::string many;
    for (int i = 0; i < 100'000; ++i) many += empty;
    write(4, [&](int64_t i) {
      const std::string line = question(i);
      return line.substr(0, line.size() - 2) + ", \"x\": [" + many + "1]}\n";
    });
    EXPECT_EQ(error_of(20 * kMega).code(), Code::kUsage) << empty;
    EXPECT_STREQ(error_of(100 * kMega).what(), "no error") << empty;
  }
}

TEST_F(DataMemoryTest, TheMessageSaysWhatToDo) {
  write(20'000, question);
  const std::string said = error_of(kMega).what();
  for (const char* word : {"own.jsonl.gz", "1.049 MB", "--memory"}) {
    EXPECT_NE(said.find(word), std::string::npos) << said;
  }
}

}  // namespace
}  // namespace ram
