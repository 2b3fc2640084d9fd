#include "ram/csv.h"

#include <gtest/gtest.h>

namespace ram {
namespace {

TEST(Csv, QuotesAFieldOnlyWhereItMustBe) {
  EXPECT_EQ(csv_field("model.layers.0"), "model.layers.0");
  EXPECT_EQ(csv_field(""), "");
  EXPECT_EQ(csv_field("a,b"), "\"a,b\"");
  EXPECT_EQ(csv_field("say \"x\"\n"), "\"say \"\"x\"\"\n\"");
}

}  // namespace
}  // namespace ram
