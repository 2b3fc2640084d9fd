#include <filesystem>

#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/error.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

using testing::TempFolder;

class OwnText : public ::testing::Test {
 protected:
  static std::string demo() { return RAM_SOURCE_DIR "/models/demo"; }

  TempFolder folder_;
  LanguageModel model_{Checkpoint::open(demo()), {.threads = 2}};
  Tokenizer tokenizer_ = Tokenizer::open(demo());
  CalibrationTextOptions options_{.rows = 3, .length = 24};
};

TEST_F(OwnText, BeginsAsATextBeginsAndIsTheSameForTheSameSeed) {
  Study study(folder_ / "a.db");
  const CalibrationText text = own_text(model_, tokenizer_, "f", options_, study);
  ASSERT_EQ(text.rows.size(), 3U);
  const auto beginning = text_beginning(tokenizer_, model_.checkpoint().config);
  for (const TokenRow& row : text.rows) {
    EXPECT_EQ(row.size(), 24U);
    EXPECT_TRUE(std::equal(beginning.begin(), beginning.end(), row.begin()));
  }
  EXPECT_NE(text.rows[0], text.rows[1]);
  Study other(folder_ / "b.db");
  const CalibrationText again = own_text(model_, tokenizer_, "f", options_, other);
  EXPECT_EQ(again.rows, text.rows);
  EXPECT_EQ(again.digest, text.digest);
  options_.seed = 1;
  EXPECT_NE(own_text(model_, tokenizer_, "f", options_, other).rows, text.rows);
}

TEST_F(OwnText, GoesOnWhereAnInterruptedRunWas) {
  Study study(folder_ / "a.db");
  const CalibrationText whole = own_text(model_, tokenizer_, "f", options_, study);
  Study other(folder_ / "b.db");
  const auto stop = [](const Progress& progress) {
    if (progress.done_bytes > 30) fail(Code::kInterrupted, "interrupted");
  };
  EXPECT_THROW(own_text(model_, tokenizer_, "f", options_, other, stop), Error);
  int64_t first = -1;
  const CalibrationText text =
      own_text(model_, tokenizer_, "f", options_, other, [&](const Progress& progress) {
        if (first < 0) first = progress.done_bytes;
      });
  EXPECT_GT(first, 24);  // the first row was kept
  EXPECT_EQ(text.rows, whole.rows);
}

TEST(CalibrationTexts, OfAFileAreSpreadOverItAndKnowItsHash) {
  const std::string demo = RAM_SOURCE_DIR "/models/demo";
  const Tokenizer tokenizer = Tokenizer::open(demo);
  const CalibrationText text =
      file_text(demo + "/heldout.txt", tokenizer, {.rows = 4, .length = 64});
  ASSERT_EQ(text.rows.size(), 4U);
  EXPECT_NE(text.spec.find("sha256"), std::string::npos);
  EXPECT_EQ(text.tokens(), 4 * 64);
  const CalibrationText random = random_text(100, {.rows = 2, .length = 50});
  for (const TokenRow& row : random.rows) {
    for (const int32_t id : row) EXPECT_TRUE(id >= 0 && id < 100);
  }
}

}  // namespace
}  // namespace ram
