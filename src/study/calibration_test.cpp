#include <vector>

#include <gtest/gtest.h>

#include "ram/study.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

class CalibrationStudy : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  std::filesystem::path file_ = folder_ / "ram.db";
};

TEST_F(CalibrationStudy, KeepsATextPerModelAndSpecification) {
  const CalibrationRecord text{.fingerprint = "f",
                               .spec = "own rows 2 length 3 seed 42",
                               .digest = "d",
                               .row_length = 3,
                               .ids = {1, 2, 3, 70000, -1, 0}};
  {
    Study study(file_);
    study.put_calibration_text(text);
  }
  Study study(file_);
  EXPECT_EQ(study.calibration_text("f", text.spec), text);
  EXPECT_EQ(study.calibration_text("g", text.spec), std::nullopt);
  EXPECT_EQ(study.calibration_text("f", "own rows 2 length 3 seed 43"), std::nullopt);
}

TEST_F(CalibrationStudy, DoesNotReplaceATextByItsBeginning) {
  Study study(file_);
  CalibrationRecord text{
      .fingerprint = "f", .spec = "own", .digest = "whole", .row_length = 2, .ids = {1, 2, 3, 4}};
  study.put_calibration_text(text);
  CalibrationRecord slower = text;
  slower.digest = "half";
  slower.ids = {1, 2};
  study.put_calibration_text(slower);
  EXPECT_EQ(study.calibration_text("f", "own"), text);
  text.ids = {1, 2, 3, 4, 5, 6};
  study.put_calibration_text(text);
  EXPECT_EQ(study.calibration_text("f", "own"), text);
  slower.ids = {7, 8};  // of another tokenizer
  study.put_calibration_text(slower);
  EXPECT_EQ(study.calibration_text("f", "own"), slower);
}

TEST_F(CalibrationStudy, KeepsProbesInOrderAndReplacesThoseThatComeAgain) {
  Study study(file_);
  const ProbeKey key{.fingerprint = "f", .text = "t", .disturbance = "gaussian 0.08"};
  const ProbeRow a{.unit = "a", .seed = 0, .row = 1, .tokens = 256, .kl_sum = 0.25};
  const ProbeRow b{.unit = "b", .seed = 1, .row = 0, .tokens = 256, .kl_sum = 1e-9};
  study.put_probes(key, std::vector{b, a});
  EXPECT_EQ(study.probes(key), (std::vector{a, b}));
  ProbeRow again = a;
  again.kl_sum = 0.5;
  study.put_probes(key, std::vector{again});
  EXPECT_EQ(study.probes(key), (std::vector{again, b}));
  EXPECT_TRUE(
      study.probes({.fingerprint = "f", .text = "u", .disturbance = "gaussian 0.08"}).empty());
}

}  // namespace
}  // namespace ram
