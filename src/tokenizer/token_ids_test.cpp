#include "ram/token_ids.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/corrupt_inputs.h"

namespace ram {
namespace {

using ::testing::ElementsAre;

TEST(TokenIds, EveryBrokenInputIsRefusedInOneShortLine) {
  testing::replay_corrupt_inputs("ids",
                                 [](const std::string& text) { parse_id_rows(text, "ids"); });
}

TEST(TokenIds, WordsAreIdsOfTheTokenizer) {
  const Tokenizer tokenizer = Tokenizer::parse(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 7}, "merges": []}})", "t.json");
  EXPECT_THAT(parse_id_words(" [0, 7]\n7 0,,7", tokenizer), ElementsAre(0, 7, 7, 0, 7));
  EXPECT_THAT(parse_id_words("", tokenizer), ElementsAre());
  for (const char* text : {"5", "-1", "7.0", "0x0", "99999999999999999999", "0 \x1b[31m", "a"}) {
    EXPECT_THROW(parse_id_words(text, tokenizer), Error) << text;
  }
}

}  // namespace
}  // namespace ram
