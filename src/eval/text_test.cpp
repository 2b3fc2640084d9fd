// Rows of a text: how lines are joined, and what a row contains.
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/eval.h"
#include "ram/json.h"

#include "support/error_of.h"

namespace ram {
namespace {

using ::testing::ElementsAre;
using testing::error_of;
using ::testing::HasSubstr;
using Json = nlohmann::json;

// The demo model's tokenizer, with token 0 before each text if `with_prefix`.
Tokenizer demo_tokenizer(bool with_prefix = false) {
  const std::string path = RAM_SOURCE_DIR "/models/demo/tokenizer.json";
  Json document = Json::parse(std::ifstream(path));
  if (with_prefix) {
    const Json special = {{"SpecialToken", {{"id", "<|endoftext|>"}, {"type_id", 0}}}};
    const Json sequence = {{"Sequence", {{"id", "A"}, {"type_id", 0}}}};
    document["post_processor"] = {
        {"type", "TemplateProcessing"},
        {"single", Json::array({special, sequence})},
        {"pair", Json::array({special, sequence, sequence})},
        {"special_tokens",
         {{"<|endoftext|>",
           {{"id", "<|endoftext|>"}, {"ids", {0}}, {"tokens", {"<|endoftext|>"}}}}}}};
  }
  return Tokenizer::parse(document.dump(), path);
}

Text text_of(std::string content) {
  return {.path = "a.txt", .content = std::move(content), .sha256 = "00", .notes = {}};
}

std::vector<TokenId> flat(const TextRows& rows) {
  std::vector<TokenId> ids;
  for (const TokenRow& row : rows.rows) ids.insert(ids.end(), row.begin(), row.end());
  return ids;
}

class TextTest : public ::testing::Test {
 protected:
  Tokenizer tokenizer_ = demo_tokenizer();
};

TEST_F(TextTest, WikiTextIsToldByItsHeadings) {
  EXPECT_EQ(detect_format(" \n = Robert Boulter = \n \n He was"), TextFormat::kWikitext);
  EXPECT_EQ(detect_format(" = = Career = = "), TextFormat::kWikitext);
  EXPECT_EQ(detect_format("a = b = c\n x = 3\n"), TextFormat::kPlain);
  EXPECT_EQ(detect_format("== Heading ==\n"), TextFormat::kPlain);
}

TEST_F(TextTest, BlankLinesGoAndTheOthersAreJoinedByTwoNewlines) {
  const std::string wiki = " \n = A b = \n \n\t\n One two .\nThree\n";
  const RowOptions wikitext{.length = 2, .format = TextFormat::kWikitext};
  const RowOptions plain{.length = 2, .format = TextFormat::kPlain};
  const TextRows joined = cut_rows(text_of(wiki), tokenizer_, wikitext);
  const TextRows same = cut_rows(text_of(" = A b = \n\n One two .\n\nThree"), tokenizer_, plain);
  EXPECT_EQ(joined.rows, same.rows);
  EXPECT_NE(joined.rows, cut_rows(text_of(wiki), tokenizer_, plain).rows);
  const TextRows detected = cut_rows(text_of(wiki), tokenizer_, {.length = 2});
  EXPECT_EQ(detected.rows, joined.rows);
  EXPECT_TRUE(detected.detected);
  EXPECT_FALSE(joined.detected);
}

TEST_F(TextTest, RowsDoNotOverlapAndTheRestIsLeftOut) {
  const std::string content = "One little text about a cat that keeps a boat and likes rice most.";
  const std::vector<TokenId> ids = tokenizer_.encode(content, Specials::kNone);
  const TextRows rows = cut_rows(text_of(content), tokenizer_, {.length = 5});
  EXPECT_EQ(rows.text_tokens, std::ssize(ids));
  EXPECT_EQ(rows.rows_total, std::ssize(ids) / 5);
  const std::vector<TokenId> cut = flat(rows);
  ASSERT_EQ(std::ssize(cut), rows.rows_total * 5);
  EXPECT_TRUE(std::equal(cut.begin(), cut.end(), ids.begin()));
  EXPECT_EQ(rows.scored_tokens(), rows.rows_total * 4);
}

TEST_F(TextTest, SpecialTokensStandWhereTheyWereAskedFor) {
  const Tokenizer tokenizer = demo_tokenizer(true);
  const std::string content = "One little text about a cat that keeps a boat and likes rice most.";
  const std::vector<TokenId> ids = tokenizer.encode(content, Specials::kNone);
  const auto cut = [&](Bos bos) {
    return cut_rows(text_of(content), tokenizer, {.length = 4, .bos = bos});
  };
  EXPECT_THAT(cut(Bos::kStart).rows.at(0), ElementsAre(0, ids[0], ids[1], ids[2]));
  EXPECT_THAT(cut(Bos::kStart).rows.at(1), ElementsAre(ids[3], ids[4], ids[5], ids[6]));
  EXPECT_EQ(cut(Bos::kStart).text_tokens, std::ssize(ids) + 1);
  EXPECT_THAT(cut(Bos::kEveryRow).rows.at(0), ElementsAre(0, ids[0], ids[1], ids[2]));
  EXPECT_THAT(cut(Bos::kEveryRow).rows.at(1), ElementsAre(0, ids[3], ids[4], ids[5]));
  EXPECT_EQ(cut(Bos::kEveryRow).rows_total, std::ssize(ids) / 3);
  EXPECT_THAT(cut(Bos::kNone).rows.at(0), ElementsAre(ids[0], ids[1], ids[2], ids[3]));
  EXPECT_NE(cut(Bos::kStart).protocol(), cut(Bos::kNone).protocol());
}

TEST_F(TextTest, FewerRowsAreDrawnAsNumpyDrawsThem) {
  std::string content;
  for (int i = 0; i < 400; ++i) content += " cat";
  const TextRows all = cut_rows(text_of(content), tokenizer_, {.length = 2});
  const TextRows some = cut_rows(text_of(content), tokenizer_, {.length = 2, .rows = 7});
  EXPECT_EQ(some.indices, draw_rows(all.rows_total, 7, 42));
  EXPECT_EQ(some.rows_total, all.rows_total);
  const TextRows more = cut_rows(text_of(content), tokenizer_, {.length = 2, .rows = 1'000'000});
  EXPECT_EQ(more.indices, all.indices);
}

TEST_F(TextTest, ATextShorterThanARowSaysWhatWouldWork) {
  const int64_t tokens = std::ssize(tokenizer_.encode("A cat.", Specials::kNone));
  const Error error = error_of([&] { cut_rows(text_of("A cat."), tokenizer_, {.length = 2048}); });
  EXPECT_EQ(error.code(), Code::kCorrupt);
  EXPECT_THAT(error.what(), HasSubstr(fmt::format("{} tokens", tokens)));
  EXPECT_THAT(error.what(), HasSubstr(fmt::format("--length {} or less", tokens)));
  EXPECT_EQ(error_of([&] { cut_rows(text_of("A cat."), tokenizer_, {.length = 1}); }).code(),
            Code::kUsage);
}

TEST_F(TextTest, AGlimpseShowsNoControlCharacters) {
  const std::vector<TokenId> ids =
      tokenizer_.encode("a\n\tb\x1b[31m\x7f caf\xc3\xa9 \xc2\x9b!", Specials::kNone);
  EXPECT_EQ(excerpt(tokenizer_, ids, 60), "a\\n\\tb\\x1b[31m\\x7f caf\xc3\xa9 \\x9b!");
  EXPECT_EQ(excerpt(tokenizer_, ids, 4), "a\\n");
}

}  // namespace
}  // namespace ram
