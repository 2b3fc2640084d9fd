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

}  // namespace
}  // namespace ram
