// Patterns against Oniguruma's results (tests/vectors/tokenizer/patterns), and splits.
#include "pattern.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/json.h"

#include "support/corrupt_inputs.h"
#include "unicode.h"

namespace ram {
namespace {

using ::testing::ElementsAre;

std::vector<std::string> pieces(const Pattern& pattern, std::string_view text,
                                SplitBehavior behavior, bool invert = false) {
  MatchScratch scratch(Growth::of_text(text.size()));
  std::vector<std::string> out;
  split(text, pattern, invert, behavior, scratch,
        [&](size_t start, size_t end) { out.emplace_back(text.substr(start, end - start)); });
  return out;
}

TEST(Pattern, EveryConstructCutsAsOnigurumaDoes) {
  const auto path = std::filesystem::path(RAM_SOURCE_DIR) / "tests/vectors/tokenizer/patterns";
  const auto cases =
      nlohmann::json::parse(read_text_file(path / "patterns.json", int64_t{1} << 20));
  ASSERT_GT(cases.size(), 400U);
  for (const auto& one : cases) {
    const std::string text = one["pattern"];
    SCOPED_TRACE(text);
    EXPECT_EQ(pieces(Pattern::regex(text, "test"), one["text"].get<std::string>(),
                     SplitBehavior::kIsolated),
              one["pieces"].get<std::vector<std::string>>());
  }
}

TEST(Pattern, WhatHasNoCounterpartIsRefusedByItsPlace) {
  for (const char* text : {R"(\X)", R"(\K)", R"(\N)", R"(\y)", "(?~a)", "(?x: a)", R"(a\Qb)",
                           R"(\p{Nonsense})", R"(\xff)", "(?<=a+)b"}) {
    try {
      Pattern::regex(text, "file.json");
      ADD_FAILURE() << text;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kUnsupported) << text;
      EXPECT_THAT(error.what(), ::testing::HasSubstr("file.json"));
    }
  }
}

TEST(Pattern, ACategoryThatChangedSinceUnicode14IsTheNewOneButNotWhereThePatternNamesIt) {
  const auto cut = [](const char* pattern, std::string_view text) {
    return pieces(Pattern::regex(pattern, "test"), text, SplitBehavior::kIsolated);
  };
  const std::string letter = "\xF0\xB1\x8D\x90";  // U+31350, a Han letter since 15
  EXPECT_THAT(cut(R"(\p{L}+)", "-a" + letter + "-"), ElementsAre("-", "a" + letter, "-"));
  EXPECT_THAT(cut(R"(\p{Han}+)", "-" + letter + "-"), ElementsAre("-", letter, "-"));
  EXPECT_THAT(cut(R"([\x{31350}-\x{31351}])", "-" + letter + "-"), ElementsAre("-", letter, "-"));
  EXPECT_THAT(cut(R"([\x{20000}-\x{2a6df}])", "-" + letter + "-"), ElementsAre("-" + letter + "-"));
}

TEST(Pattern, EveryBrokenInputIsRefusedInOneShortLine) {
  testing::replay_corrupt_inputs("regex",
                                 [](const std::string& text) { Pattern::regex(text, "test"); });
}

TEST(Split, DoesTheFiveThingsWithMatches) {
  const Pattern dash = Pattern::literal("-");
  const std::string text = "-a--b-";
  EXPECT_THAT(pieces(dash, text, SplitBehavior::kRemoved), ElementsAre("a", "b"));
  EXPECT_THAT(pieces(dash, text, SplitBehavior::kIsolated),
              ElementsAre("-", "a", "-", "-", "b", "-"));
  EXPECT_THAT(pieces(dash, text, SplitBehavior::kContiguous),
              ElementsAre("-", "a", "--", "b", "-"));
  EXPECT_THAT(pieces(dash, text, SplitBehavior::kMergedWithPrevious),
              ElementsAre("-", "a-", "-", "b-"));
  EXPECT_THAT(pieces(dash, text, SplitBehavior::kMergedWithNext),
              ElementsAre("-a", "-", "-b", "-"));
  EXPECT_THAT(pieces(dash, text, SplitBehavior::kRemoved, true), ElementsAre("-", "-", "-", "-"));
}

TEST(Split, ALineThatNoJitStackHoldsIsMatchedAllTheSame) {
  // Every iteration of the group is kept for backtracking.
  const Pattern nested = Pattern::regex(R"((?:a|b)*c|(?:(a)|(b))+)", "test");
  EXPECT_THAT(pieces(nested, std::string(300000, 'a'), SplitBehavior::kIsolated),
              ElementsAre(std::string(300000, 'a')));
}

}  // namespace
}  // namespace ram
