// What calibration refuses.
#include <chrono>
#include <filesystem>
#include <string>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/fit.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

// The fingerprint is of the files as analyzed; the model is opened again to be run.
TEST(CalibrationOpens, TheFilesThatWereAnalyzedOrNone) {
  const testing::TempFolder folder;
  testing::write_tiny_model(folder / "model", {});
  const Checkpoint checkpoint = Checkpoint::open((folder / "model").string());
  const std::filesystem::path weights = folder / "model" / "model.safetensors";
  std::filesystem::last_write_time(
      weights, std::filesystem::last_write_time(weights) - std::chrono::hours(1));
  const CalibrationRequest request{.text = "random", .rows = {.rows = 2, .length = 16}};
  Study study(folder / "ram.db");
  try {
    const FitEvents events;
    const Calibration calibration(checkpoint, "f", request, {.memory_bytes = int64_t{4} << 30},
                                  study, events);
    ADD_FAILURE() << "was opened";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_NE(std::string(error.what()).find("changed while"), std::string::npos) << error.what();
  }
}

}  // namespace
}  // namespace ram
