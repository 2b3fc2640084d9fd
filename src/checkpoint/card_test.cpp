// Front matter as people write it, and which of it reaches another card.
#include "card.h"

#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/file.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST(Card, scalars_are_read_as_yaml_has_them) {
  const auto licence = [](const std::string& text) { return parse_card(text).licence; };
  EXPECT_EQ(licence("---\nlibrary_name: x\nlicense: apache-2.0\n---\n# Model\n"), "apache-2.0");
  EXPECT_EQ(licence("---\r\nlicense: \"llama3.1\"  \r\n---\r\n"), "llama3.1");
  EXPECT_EQ(licence("---\nlicense: 'it''s'   # a comment\n---\n"), "it's");
  EXPECT_EQ(licence("---\nlicense: \"a \\\"b\\\" c\"\n---\n"), "a \"b\" c");
  EXPECT_EQ(licence("---\nlicense: mit # why not\n---\n"), "mit");
  EXPECT_EQ(licence("---\nlicense: mit\nlicense: other\n---\n"), "other");
  EXPECT_EQ(licence("---\nlicense:\n- mit\n---\n"), "mit");
  EXPECT_EQ(licence("\xEF\xBB\xBF---\nlicense: mit\n---\n"), "mit");
}

TEST(Card, what_is_no_front_matter_says_nothing) {
  for (const char* text :
       {"", "---", "---\n", "# Model\nlicense: mit\n", "---\ntags: x\n---\nlicense: mit\n",
        "---\nlicense:\n---\n", "---\nlicense: [mit, apache-2.0]\n---\n",
        "---\nlicense: |\n  mit\n---\n", "---\nlicense: &anchor mit\n---\n",
        "---\n  license: mit\n---\n", "---\nmodel:\n  license: mit\n---\n",
        "---\nlicense\n---\n"}) {
    EXPECT_EQ(parse_card(text).licence, "") << text;
  }
}

TEST(Card, lists_are_read_in_both_spellings) {
  const ModelCard card = parse_card(
      "---\nlicense: other\nlicense_name: llama3.1\nlicense_link: https://example.org/a#b\n"
      "language: [en, \"de\", no]\ntags:\n- chat\n  - code\n# a comment\n- \"a, b\"\n- chat\n"
      "widget:\n- text: x\nbase_model: y\n---\n");
  EXPECT_EQ(card.licence, "other");
  EXPECT_EQ(card.licence_name, "llama3.1");
  EXPECT_EQ(card.licence_link, "https://example.org/a#b");
  EXPECT_THAT(card.languages, ElementsAre("en", "de", "no"));
  EXPECT_THAT(card.tags, ElementsAre("chat", "code", "a, b"));
  EXPECT_THAT(parse_card("---\nlanguage: en\n---\n").languages, ElementsAre("en"));
  EXPECT_THAT(parse_card("---\nlanguage:\n---\n").languages, IsEmpty());
}

TEST(Card, hostile_values_are_bounded_and_printable) {
  std::string text = "---\nlicense: \"a\x1b[31m\xff\"\ntags:\n- " + std::string(5000, 'x') + "\n";
  for (int i = 0; i < 1000; ++i) text += "- t" + std::to_string(i) + "\n";
  const ModelCard card = parse_card(text + "---\n");
  EXPECT_EQ(card.licence, "a\xEF\xBF\xBD[31m\xEF\xBF\xBD");
  EXPECT_THAT(card.tags, SizeIs(kMaxCardValues));
  EXPECT_EQ(card.tags.front(), "t0");
  // Truncated anywhere, it can still be read.
  const std::string whole =
      "---\nlicense: \"x\"\ntags: ['a', \"b\\\"\", c]\nlanguage:\n- 'en'\n---\n";
  for (size_t size = 0; size <= whole.size(); ++size) parse_card(whole.substr(0, size));
}

TEST(Card, a_file_that_is_none_says_nothing) {
  const testing::TempFolder folder;
  EXPECT_EQ(read_card(folder.path()).licence, "");
  std::filesystem::create_directories(folder / "README.md");
  EXPECT_EQ(read_card(folder.path()).licence, "");
  std::filesystem::remove(folder / "README.md");
  write_file_atomic(folder / "README.md", "---\nlicense: mit\n---\n");
  EXPECT_EQ(read_card(folder.path()).licence, "mit");
}

}  // namespace
}  // namespace ram
