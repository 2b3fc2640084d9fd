#include <algorithm>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/calibration_table.h"
#include "ram/error.h"
#include "ram/progress.h"
#include "ram/random.h"

#include "support/temp_folder.h"
#include "units.h"

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

TEST_F(OwnText, OfNeighbouringSeedsHasNoRowInCommon) {
  options_.rows = 6;
  std::set<TokenRow> rows;
  for (const uint64_t seed : {42, 43, 44}) {
    options_.seed = seed;
    Study study(folder_ / fmt::format("{}.db", seed));
    const CalibrationText text = own_text(model_, tokenizer_, "f", options_, study);
    EXPECT_NE(text.spec.find(fmt::format("seed {} rule 5", seed)), std::string::npos) << text.spec;
    rows.insert(text.rows.begin(), text.rows.end());
  }
  EXPECT_EQ(rows.size(), 18U);
}

// Derived seeds of every kind: none occurs twice, also for neighbouring indices.
TEST(DerivedSeeds, AreAllDifferent) {
  std::set<uint64_t> all;
  size_t count = 0;
  for (uint64_t seed = 40; seed < 60; ++seed) {
    for (int64_t i = 0; i < 200; ++i) {
      all.insert(derived_seed(seed, static_cast<uint64_t>(i)));
      all.insert(own_text_seed(seed, i));
      for (int unit = 0; unit < 20; ++unit) {
        if (i < 8) all.insert(noise_seed(seed, unit, static_cast<int>(i)));
      }
    }
    count += 200 + 200 + 8 * 20;
  }
  // noise_seed of repetition r and unit u is derived from derived_seed(seed, r): a different
  // number.
  EXPECT_EQ(all.size(), count);
}

TEST_F(OwnText, IsTheSameHoweverManyRowsAreWrittenSideBySide) {
  options_.rows = 7;
  Study first(folder_ / "first.db");
  options_.rows_at_once = 1;
  const CalibrationText text = own_text(model_, tokenizer_, "f", options_, first);
  // Also if every weight is read again for each token.
  LanguageModel little(Checkpoint::open(demo()), {.threads = 2, .memory_bytes = int64_t{98} << 20});
  ASSERT_FALSE(little.keeps_weights());
  for (const int64_t at_once : {2, 0}) {
    options_.rows_at_once = at_once;
    Study study(folder_ / fmt::format("{}.db", at_once));
    EXPECT_EQ(own_text(model_, tokenizer_, "f", options_, study).rows, text.rows) << at_once;
  }
  options_.rows_at_once = 5;
  Study again(folder_ / "again.db");
  EXPECT_EQ(own_text(little, tokenizer_, "f", options_, again).rows, text.rows);
}

TEST_F(OwnText, StartsAnywhereWhereAskedTo) {
  options_.rows = 12;
  options_.length = 8;
  options_.random_start = true;
  Study study(folder_ / "a.db");
  const CalibrationText text = own_text(model_, tokenizer_, "f", options_, study);
  const auto beginning = text_beginning(tokenizer_, model_.checkpoint().config);
  std::set<TokenId> starts;
  for (const TokenRow& row : text.rows) {
    ASSERT_EQ(std::ssize(row), options_.length);
    EXPECT_TRUE(std::equal(beginning.begin(), beginning.end(), row.begin()));
    const TokenId start = row[beginning.size()];
    EXPECT_FALSE(tokenizer_.is_special(start));
    starts.insert(start);
  }
  EXPECT_GE(starts.size(), 10U);  // of 12, drawn from some thousand tokens
  EXPECT_EQ(own_text(model_, tokenizer_, "f", options_, study).rows, text.rows);
  options_.random_start = false;  // the same study distinguishes both
  EXPECT_NE(own_text(model_, tokenizer_, "f", options_, study).rows, text.rows);
}

TEST_F(OwnText, GoesOnWhereAnInterruptedRunWas) {
  Study study(folder_ / "a.db");
  const CalibrationText whole = own_text(model_, tokenizer_, "f", options_, study);
  Study other(folder_ / "b.db");
  options_.rows_at_once = 1;
  const auto stop = [](const Progress& progress) {
    if (progress.done > 30) fail(Code::kInterrupted, "interrupted");
  };
  EXPECT_THROW(own_text(model_, tokenizer_, "f", options_, other, stop), Error);
  int64_t first = -1;
  const CalibrationText text =
      own_text(model_, tokenizer_, "f", options_, other, [&](const Progress& progress) {
        if (first < 0) first = progress.done;
      });
  EXPECT_GT(first, 24);  // the first row was kept
  EXPECT_EQ(text.rows, whole.rows);
}

TEST_F(OwnText, OfAModelThatChangedMeanwhileIsNotKept) {
  const std::filesystem::path copy = folder_ / "model";
  std::filesystem::copy(demo(), copy);
  LanguageModel model(Checkpoint::open(copy.string()), {.threads = 2});
  Study study(folder_ / "a.db");
  const auto touch = [&](const Progress&) {
    std::filesystem::last_write_time(copy / "model.safetensors", std::filesystem::file_time_type());
  };
  EXPECT_THROW(own_text(model, tokenizer_, "f", options_, study, touch), Error);
  const std::string spec = text_spec("own", model.checkpoint().config, options_);
  EXPECT_FALSE(CalibrationTextTable(study).find("f", spec).has_value());
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
