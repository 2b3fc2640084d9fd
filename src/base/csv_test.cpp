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

TEST(Csv, ReadsTheFieldsThatItWrites) {
  using Fields = std::vector<std::string>;
  EXPECT_EQ(csv_fields("a,,\"b,c\",d"), (Fields{"a", "", "b,c", "d"}));
  EXPECT_EQ(csv_fields(""), Fields{""});
  for (const char* text : {"plain", "", "a,b", "say \"x\"", "\"", ","}) {
    EXPECT_EQ(csv_fields(csv_field(text) + "," + csv_field("z")), (Fields{text, "z"})) << text;
  }
}

}  // namespace
}  // namespace ram
