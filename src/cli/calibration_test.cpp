#include "calibration.h"

#include <chrono>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram::cli {
namespace {

// The fingerprint is of the files as they were analyzed; the model is opened once more to be run.
TEST(CalibrationOpens, TheFilesThatWereAnalyzedOrNone) {
  const testing::TempFolder folder;
  testing::write_tiny_model(folder / "model", {});
  const Checkpoint checkpoint = Checkpoint::open((folder / "model").string());
  const std::filesystem::path weights = folder / "model" / "model.safetensors";
  std::filesystem::last_write_time(
      weights, std::filesystem::last_write_time(weights) - std::chrono::hours(1));
  Common common;
  common.quiet = true;
  const CalibrationArguments arguments{.text = "random", .rows = 2, .length = 16};
  Study study(folder / "ram.db");
  try {
    const Calibration calibration(common, checkpoint, "f", arguments, study);
    ADD_FAILURE() << "was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_NE(std::string(error.what()).find("changed while"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace ram::cli
