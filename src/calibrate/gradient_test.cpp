// Coefficients from backward passes, against what noise does.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/calibration_table.h"
#include "ram/error.h"

#include "hidden_stack.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "units.h"

namespace ram {
namespace {

using testing::TempFolder;
using testing::TinyModel;

/// Rows that the model draws itself, after a token that differs from row to row.
CalibrationText drawn_text(LanguageModel& model, int64_t rows, int64_t length) {
  CalibrationText text{.spec = "own drawn here", .digest = "drawn"};
  for (int64_t row = 0; row < rows; ++row) {
    Decoder decoder(model, length);
    const TokenRow prompt = {static_cast<int32_t>(3 + row)};
    TokenRow ids = sample_tokens(
        decoder, prompt, {.max_tokens = length - 1, .seed = static_cast<uint64_t>(100 + row)});
    ids.insert(ids.begin(), prompt.front());
    text.rows.push_back(std::move(ids));
  }
  return text;
}

std::vector<int> matrices_of(const Checkpoint& checkpoint) {
  std::vector<int> units;
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    if (checkpoint.units[u].quantizable) units.push_back(static_cast<int>(u));
  }
  return units;
}

/// Expects each unit's coefficients within three standard errors and a tenth.
void expect_alike(const Checkpoint& checkpoint, const std::vector<int>& units,
                  const Coefficients& found, const Coefficients& truth) {
  for (const int unit : units) {
    const auto u = static_cast<size_t>(unit);
    const Coefficient& one = found.units[u].value();
    const Coefficient& other = truth.units[u].value();
    EXPECT_NEAR(std::log(one.value / other.value), 0,
                3 * std::hypot(one.log_error, other.log_error) + 0.1)
        << checkpoint.units[u].name << (checkpoint.tied_embeddings ? " tied" : "");
  }
}

class GradientCoefficients : public ::testing::Test {
 protected:
  LanguageModel open(const TinyModel& spec, int threads = 2) const {
    testing::write_tiny_model(folder_ / "model", spec);
    return {Checkpoint::open((folder_ / "model").string()), {.threads = threads}};
  }
  TempFolder folder_;
};

TEST_F(GradientCoefficients, AreWhatSmallNoiseCosts) {
  for (const bool tied : {false, true}) {
    LanguageModel model = open({.model_type = "llama", .tied = tied});
    const CalibrationText text = drawn_text(model, 24, 24);
    const std::vector<int> units = matrices_of(model.checkpoint());
    Study study(folder_ / (tied ? "tied.db" : "ram.db"));
    const Coefficients found = gradient_coefficients(model, "f", units, text, {.rows = 24}, study);
    const Coefficients truth = measure_coefficients(
        model, "f", units, text,
        {.relative_noise = 0.01, .seeds = 4, .most_seeds = 4, .first_rows = 24}, study);
    expect_alike(model.checkpoint(), units, found, truth);
  }
}

// Labels are then drawn, so that the gradients of a row are one draw of many.
TEST_F(GradientCoefficients, AreWhatSmallNoiseCostsOnAnyText) {
  LanguageModel model = open({.model_type = "llama"});
  const CalibrationText text = random_text(96, {.rows = 48, .length = 24, .seed = 7});
  const std::vector<int> units = matrices_of(model.checkpoint());
  Study study(folder_ / "ram.db");
  const Coefficients found = gradient_coefficients(model, "f", units, text, {.rows = 48}, study);
  const Coefficients truth = measure_coefficients(
      model, "f", units, text,
      {.relative_noise = 0.01, .seeds = 4, .most_seeds = 4, .first_rows = 48}, study);
  expect_alike(model.checkpoint(), units, found, truth);
}

TEST_F(GradientCoefficients, AreTheSameInAnyBlocksAndAreNotMeasuredAgain) {
  LanguageModel model = open({.model_type = "qwen3_moe"});
  const CalibrationText text = drawn_text(model, 6, 16);
  const std::vector<int> units = matrices_of(model.checkpoint());
  const auto values = [&](const char* file, int64_t memory) {
    Study study(folder_ / file);
    const Coefficients found =
        gradient_coefficients(model, "f", units, text, {.rows = 6, .memory_bytes = memory}, study);
    std::vector<double> result;
    result.reserve(units.size());
    for (const int unit : units) {
      result.push_back(found.units[static_cast<size_t>(unit)].value().value);
    }
    return result;
  };
  const std::vector<double> together = values("one.db", int64_t{1} << 30);
  EXPECT_EQ(values("other.db", 1), together);
  // And from what waits in a file.
  constexpr int64_t kDisk = int64_t{1} << 30;
  const int64_t memory = 6 * gradient_row_bytes(model, 16) - 1;
  ASSERT_TRUE(gradient_block(model, 16, 6, memory, kDisk).in_file);
  EXPECT_EQ(values("file.db", memory), together);
  Study study(folder_ / "one.db");
  const Coefficients again = gradient_coefficients(model, "f", units, text, {.rows = 6}, study);
  EXPECT_EQ(again.layers_run, 0);
  EXPECT_EQ(again.units[static_cast<size_t>(units.front())]->value, together.front());
}

TEST_F(GradientCoefficients, WaitInAFileWhereThatMakesBlocksLarger) {
  const LanguageModel model = open({.model_type = "llama", .layers = 6});
  constexpr int64_t kDisk = int64_t{1} << 30;
  const int64_t row = gradient_row_bytes(model, 16);
  const int64_t borders = int64_t{4} * 16 * model.checkpoint().config.hidden * 6;
  const auto block = [&](int64_t rows, int64_t memory, int64_t disk) {
    return gradient_block(model, 16, rows, memory, disk);
  };
  EXPECT_FALSE(block(8, 8 * row, kDisk).in_file);
  EXPECT_GE(block(8, 8 * row, kDisk).rows, 8);
  const GradientBlock half = block(8, 8 * row - 1, kDisk);
  EXPECT_TRUE(half.in_file);
  EXPECT_EQ(half.rows, (8 * row - 1) / (row - borders));
  // At most half of the disk.
  EXPECT_FALSE(block(8, 8 * row - 1, 2 * 7 * borders).in_file);
  EXPECT_EQ(block(8, 8 * row - 1, 2 * 7 * borders).rows, 7);
  EXPECT_FALSE(block(8, 0, 0).in_file);
  EXPECT_EQ(block(8, 0, kDisk).rows, 1);
}

TEST(HiddenStack, GivesBackWhatItGotInReverse) {
  const TempFolder folder;
  for (const bool in_file : {false, true}) {
    HiddenStack stack = in_file ? HiddenStack(folder.path()) : HiddenStack();
    // No name is left for a killed process to leave behind.
    EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
    const auto state = [](int layer, int64_t row) {
      Matrix matrix(2 + row, 5);
      for (int64_t i = 0; i < matrix.rows() * 5; ++i) {
        matrix.data()[i] = static_cast<float>(1000 * layer + 100 * row + i);
      }
      return matrix;
    };
    const auto push = [&](int layer) {
      HiddenRows rows;
      for (int64_t row = 0; row < 3; ++row) rows.push_back(state(layer, row));
      stack.push(rows);
    };
    const auto pop = [&](int layer) {
      const HiddenRows rows = stack.pop();
      ASSERT_EQ(rows.size(), 3U);
      for (int64_t row = 0; row < 3; ++row) {
        const Matrix& found = rows[static_cast<size_t>(row)];
        const Matrix expected = state(layer, row);
        ASSERT_EQ(found.rows(), expected.rows());
        EXPECT_TRUE(std::equal(found.data(), found.data() + found.rows() * 5, expected.data()));
      }
    };
    push(0);
    push(1);
    push(2);
    pop(2);
    push(3);
    pop(3);
    pop(1);
    pop(0);
  }
}

TEST(HiddenStack, SaysWhereItCannotWrite) {
  const TempFolder folder;
  EXPECT_THROW(HiddenStack(folder / "nowhere"), Error);
}

}  // namespace
}  // namespace ram
