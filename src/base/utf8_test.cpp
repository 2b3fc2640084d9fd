#include "ram/utf8.h"

#include <gtest/gtest.h>

namespace ram {
namespace {

TEST(Utf8, WhatIsIllFormedIsReplacedAsPythonDoes) {
  const auto replaced = [](std::string_view text) { return replace_ill_formed_utf8(text); };
  const std::string bad = "\xEF\xBF\xBD";
  EXPECT_EQ(replaced("a\xFFz"), "a" + bad + "z");
  EXPECT_EQ(replaced("\xE2\x82"), bad);  // truncated: one mark for the valid prefix
  EXPECT_EQ(replaced("\xE2\x82x"), bad + "x");
  EXPECT_EQ(replaced("\xF0\x9F\x98"), bad);
  EXPECT_EQ(replaced("\xC0\xAF"), bad + bad);  // overlong
  EXPECT_EQ(replaced("\xE0\x80\x80"), bad + bad + bad);
  EXPECT_EQ(replaced("\xED\xA0\x80"), bad + bad + bad);            // a surrogate
  EXPECT_EQ(replaced("\xF4\x90\x80\x80"), bad + bad + bad + bad);  // beyond U+10FFFF
  EXPECT_EQ(replaced("12345678\x80"), "12345678" + bad);
  EXPECT_EQ(replaced("\xF0\x9F\x98\x80"), "\xF0\x9F\x98\x80");
}

TEST(Utf8, EveryCodePointIsWrittenAndReadBack) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string text;
    append_utf8(c, text);
    ASSERT_EQ(well_formed_utf8(text), text.size()) << static_cast<uint32_t>(c);
    ASSERT_EQ(utf8_length(text[0]), text.size());
    ASSERT_EQ(utf8_code_point(text.data()), c);
    ASSERT_EQ(utf8_previous("x" + text, 1 + text.size()), 1U);
    for (size_t cut = 1; cut < text.size(); ++cut)
      ASSERT_EQ(well_formed_utf8(text.substr(0, cut)), 0U);
  }
}

}  // namespace
}  // namespace ram
