// How untrusted text is changed before it reaches a terminal, JSON or a model card.
#include "ram/text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/json.h"

namespace ram {
namespace {

constexpr const char* kMark = "\xEF\xBF\xBD";

TEST(Text, printable_text_stays_as_it_is) {
  for (const std::string text : {"", "plain", "caf\u00e9 \u2713 \U0001F600", "a\u00a0b", "~"}) {
    EXPECT_EQ(printable(text), text);
    EXPECT_EQ(printable_lines(text), text);
  }
}

TEST(Text, what_steers_a_terminal_is_replaced) {
  EXPECT_EQ(printable("x\x1b[31m\ny"), std::string("x") + kMark + "[31m" + kMark + "y");
  EXPECT_EQ(printable("a\x7f"), std::string("a") + kMark);
  // C1 (including CSI), line separators, and marks that change the direction of writing.
  for (const char* text : {"\u0085", "\u009b", "\u2028", "\u2029", "\u202e", "\u2066", "\u200f"}) {
    EXPECT_EQ(printable(text), kMark) << text;
  }
  EXPECT_EQ(printable(std::string_view("a\0b", 3)), std::string("a") + kMark + "b");
  EXPECT_EQ(printable_lines("a\n\tb\r\x1b"), std::string("a\n\tb") + kMark + kMark);
}

TEST(Text, ill_formed_bytes_are_replaced_one_mark_for_each_sequence) {
  EXPECT_EQ(printable("caf\xe9"), std::string("caf") + kMark);
  EXPECT_EQ(printable("\xe2\x82x"), std::string(kMark) + "x");               // truncated
  EXPECT_EQ(printable("\xc0\xaf"), std::string(kMark) + kMark);              // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), std::string(kMark) + kMark + kMark);  // a surrogate
  EXPECT_EQ(printable("\xf5\x80"), std::string(kMark) + kMark);
  EXPECT_EQ(printable("\xf0\x9f\x98"), kMark);
}

TEST(Text, every_byte_string_becomes_json) {
  std::string text;
  for (int a = 0; a < 256; ++a) {
    for (int b = 0; b < 256; ++b) {
      text = {static_cast<char>(a), static_cast<char>(b)};
      EXPECT_NO_THROW(static_cast<void>(nlohmann::json(printable(text)).dump()));
      EXPECT_EQ(printable(printable(text)), printable(text));
    }
  }
}

TEST(Text, a_long_text_is_cut_at_a_character) {
  EXPECT_EQ(printable("abcdef", 4), "abcd...");
  EXPECT_EQ(printable("abc\u00e9", 4), "abc...");
  EXPECT_EQ(printable("abc\u00e9", 5), "abc\u00e9");
}

TEST(Text, WordsOfAShellAreQuotedWhereTheyMustBe) {
  EXPECT_EQ(shell_word("out-3.5GB/x_1"), "out-3.5GB/x_1");
  EXPECT_EQ(shell_word("my model"), "'my model'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word("$HOME;`x`"), "'$HOME;`x`'");
  EXPECT_EQ(shell_word(""), "''");
  EXPECT_EQ(shell_word("-rf"), "./-rf");
  EXPECT_EQ(shell_word("a\x1b[2J"), "'a\xEF\xBF\xBD[2J'");
}

}  // namespace
}  // namespace ram
