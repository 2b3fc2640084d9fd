// Gains in the study: found again bit for bit, only under their key; other programs' gains are
// kept.
#include "gain_table.h"

#include <filesystem>
#include <limits>

#include <gtest/gtest.h>

#include "support/temp_folder.h"

namespace ram {
namespace {

GainRatios ratios_of(double first) {
  GainRatios ratios = {};
  ratios[0] = first;
  ratios[7] = 1.0 / 3;
  ratios[kFormatCount - 1] = std::numeric_limits<double>::min();
  return ratios;
}

class GainTableTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  std::filesystem::path file_ = folder_ / "ram.db";
};

TEST_F(GainTableTest, RatiosComeBackBitForBitUnderTheirKeyOnly) {
  const std::map<std::string, GainRatios> gains = {{"model.layers.0.q", ratios_of(0.1)},
                                                   {"model.layers.1.q", ratios_of(2.0 / 7)}};
  {
    Study study(file_);
    GainTable(study, "key").put(gains);
  }
  Study study(file_);
  EXPECT_EQ(GainTable(study, "key").find(), gains);
  EXPECT_TRUE(GainTable(study, "ke").find().empty());
}

TEST_F(GainTableTest, WhatOthersPutIsAddedTo) {
  Study study(file_);
  Study other(file_);
  GainTable table(study, "key");
  table.put({{"a", ratios_of(0.1)}, {"b", ratios_of(0.2)}});
  GainTable(other, "key").put({{"b", ratios_of(0.3)}, {"c", ratios_of(0.4)}});
  const std::map<std::string, GainRatios> all = {
      {"a", ratios_of(0.1)}, {"b", ratios_of(0.3)}, {"c", ratios_of(0.4)}};
  EXPECT_EQ(table.find(), all);
}

TEST_F(GainTableTest, ADamagedLineIsLeftOut) {
  Study study(file_);
  GainTable table(study, "key");
  table.put({{"a", ratios_of(0.1)}, {"b", ratios_of(0.2)}});
  study.change_document("gains", "key", [](const std::string& text) {
    return text.substr(0, text.size() - 2) + "x\nc 1 2\n";
  });
  EXPECT_EQ(table.find(), (std::map<std::string, GainRatios>{{"a", ratios_of(0.1)}}));
}

}  // namespace
}  // namespace ram
