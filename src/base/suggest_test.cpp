#include "ram/suggest.h"

#include <array>
#include <string>

#include <gtest/gtest.h>

namespace ram {
namespace {

TEST(Suggest, DistanceCountsEditsAndSwaps) {
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("budget", "budget"), 0U);
  EXPECT_EQ(edit_distance("bugdet", "budget"), 1U);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("sitting", "kitten"), 3U);
}

TEST(Suggest, FindsTheNearestWordAndStaysSilentForAFarOne) {
  const std::array<std::string, 4> known = {"fit", "quantize", "verify", "--allow-unsafe"};
  EXPECT_EQ(nearest("quantise", known), "quantize");
  EXPECT_EQ(nearest("fti", known), "fit");
  EXPECT_EQ(nearest("--allow", known), "--allow-unsafe");
  EXPECT_EQ(nearest("perplexity", known), "");
  EXPECT_EQ(did_you_mean("verfiy", known), "; did you mean verify?");
  EXPECT_EQ(did_you_mean("zzzzzz", known), "");
}

}  // namespace
}  // namespace ram
