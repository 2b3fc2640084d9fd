#include "ram/json_text.h"

#include <gtest/gtest.h>

namespace ram {
namespace {

TEST(JsonText, IsIndentedInTheOrderOfItsKeysAndEndsWithANewline) {
  EXPECT_EQ(json_text({{"z", 1}, {"a", {1, 2}}}),
            "{\n  \"z\": 1,\n  \"a\": [\n    1,\n    2\n  ]\n}\n");
}

TEST(JsonText, WritesWhatIsNoUtf8AsReplacementCharacters) {
  EXPECT_EQ(json_text(std::string("a\xff")), "\"a\xEF\xBF\xBD\"\n");
}

TEST(JsonText, QuotesEveryCharacterAsTheLibraryDoes) {
  std::string all;
  for (int c = 0; c < 0x80; ++c) {
    const std::string one = "a" + std::string(1, static_cast<char>(c)) + "b";
    EXPECT_EQ(json_quoted(one), nlohmann::json(one).dump()) << c;
    all += one;
  }
  EXPECT_EQ(json_quoted(all), nlohmann::json(all).dump());
  EXPECT_EQ(json_quoted("caf\u00e9"), "\"caf\u00e9\"");
  EXPECT_EQ(json_quoted(""), "\"\"");
  EXPECT_EQ(json_quoted("a\xff"), "\"a\xEF\xBF\xBD\"");
}

}  // namespace
}  // namespace ram
