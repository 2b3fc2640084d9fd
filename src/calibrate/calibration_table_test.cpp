// The tables of calibration texts and probes: a stored row is found again, only under its key; a
// damaged row is refused.
#include "ram/calibration_table.h"

#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

class CalibrationTableTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  std::filesystem::path file_ = folder_ / "ram.db";
};

TEST_F(CalibrationTableTest, KeepsATextPerModelAndSpecification) {
  const CalibrationRecord text{.fingerprint = "f",
                               .spec = "own rows 2 length 3 seed 42",
                               .digest = "d",
                               .row_length = 3,
                               .ids = {1, 2, 3, 70000, -1, 0}};
  {
    Study study(file_);
    CalibrationTextTable(study).put(text);
  }
  Study study(file_);
  EXPECT_EQ(CalibrationTextTable(study).find("f", text.spec), text);
  EXPECT_EQ(CalibrationTextTable(study).find("g", text.spec), std::nullopt);
  EXPECT_EQ(CalibrationTextTable(study).find("f", "own rows 2 length 3 seed 43"), std::nullopt);
}

TEST_F(CalibrationTableTest, DoesNotReplaceATextByItsBeginning) {
  Study study(file_);
  CalibrationRecord text{
      .fingerprint = "f", .spec = "own", .digest = "whole", .row_length = 2, .ids = {1, 2, 3, 4}};
  CalibrationTextTable(study).put(text);
  CalibrationRecord slower = text;
  slower.digest = "half";
  slower.ids = {1, 2};
  CalibrationTextTable(study).put(slower);
  EXPECT_EQ(CalibrationTextTable(study).find("f", "own"), text);
  text.ids = {1, 2, 3, 4, 5, 6};
  CalibrationTextTable(study).put(text);
  EXPECT_EQ(CalibrationTextTable(study).find("f", "own"), text);
  slower.ids = {7, 8};  // of another tokenizer
  CalibrationTextTable(study).put(slower);
  EXPECT_EQ(CalibrationTextTable(study).find("f", "own"), slower);
}

TEST_F(CalibrationTableTest, KeepsProbesInOrderAndReplacesThoseThatComeAgain) {
  Study study(file_);
  const ProbeKey key{.fingerprint = "f", .text = "t", .disturbance = "gaussian 0.08"};
  const ProbeRow a{.unit = "a", .seed = 0, .row = 1, .tokens = 256, .kl_sum = 0.25};
  const ProbeRow b{.unit = "b", .seed = 1, .row = 0, .tokens = 256, .kl_sum = 1e-9};
  ProbeTable(study).put(key, std::vector{b, a});
  EXPECT_EQ(ProbeTable(study).find(key), (std::vector{a, b}));
  ProbeRow again = a;
  again.kl_sum = 0.5;
  ProbeTable(study).put(key, std::vector{again});
  EXPECT_EQ(ProbeTable(study).find(key), (std::vector{again, b}));
  EXPECT_TRUE(ProbeTable(study)
                  .find({.fingerprint = "f", .text = "u", .disturbance = "gaussian 0.08"})
                  .empty());
}

TEST_F(CalibrationTableTest, ADamagedRowIsRefused) {
  Study study(file_);
  CalibrationTextTable texts(study);
  ProbeTable probes(study);
  texts.put({.fingerprint = "f", .spec = "own", .digest = "d", .row_length = 2, .ids = {1, 2}});
  const ProbeKey key{.fingerprint = "f", .text = "t", .disturbance = "gaussian 0.08"};
  probes.put(key, std::vector{ProbeRow{.unit = "a", .tokens = 2, .kl_sum = 0.25}});
  for (const char* sql :
       {"UPDATE calibration_text SET row_length = 0", "UPDATE calibration_text SET row_length = 3",
        "UPDATE calibration_text SET row_length = 1, ids = x'0100'", "UPDATE probe SET kl_sum = -1",
        "UPDATE probe SET kl_sum = 9e999", "UPDATE probe SET kl_sum = 0, tokens = 0"}) {
    Study::Transaction transaction(study);
    Study::Statement(transaction, sql).run();
    transaction.commit();
    const bool of_text = std::string_view(sql).find("calibration_text") != std::string_view::npos;
    try {
      of_text ? (void)texts.find("f", "own") : (void)probes.find(key);
      ADD_FAILURE() << sql;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kCorrupt) << sql;
    }
  }
}

}  // namespace
}  // namespace ram
