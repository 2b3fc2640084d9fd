#include "ram/table.h"

#include <sstream>

#include <gtest/gtest.h>

namespace ram::cli {
namespace {

std::vector<std::string> lines(const std::string& text) {
  std::vector<std::string> out;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

TEST(Table, AlignsNumbersRightAndNamesLeft) {
  Table table({{"name", Align::kLeft}, {"bytes"}});
  table.add({"a", "7"});
  table.add({"longer", "12345"});
  EXPECT_EQ(table.render(), "name    bytes\na           7\nlonger  12345\n");
}

TEST(Table, KeepsWithinTheWidthByShorteningTheWidestName) {
  Table table({{"unit", Align::kLeft}, {"format", Align::kLeft}, {"bytes"}});
  const std::string name = "language_model.model.layers.17.mlp.switch_mlp.down_proj";
  table.add({name, "4:64", "123456789"});
  for (const std::string& line : lines(table.render(50))) EXPECT_LE(line.size(), 50U) << line;
  EXPECT_NE(table.render(50).find(".down_proj"), std::string::npos);
  EXPECT_NE(table.render(100).find(name), std::string::npos);
}

TEST(Table, CountsCharactersAndNotBytes) {
  Table table({{"name", Align::kLeft}, {"n"}});
  table.add({"\xc3\xa4\xc3\xb6\xc3\xbc", "1"});
  table.add({"abc", "2"});
  EXPECT_EQ(lines(table.render())[1], "\xc3\xa4\xc3\xb6\xc3\xbc   1");
}

TEST(Table, ShorteningNeverCutsACharacterInTwo) {
  const std::string text = "\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4\xc3\xa4";
  for (size_t width = 1; width < 8; ++width) {
    const std::string cut = shorten(text, width);
    EXPECT_EQ(text_width(cut), width);
    for (size_t i = 0; i < cut.size(); ++i) {
      if (cut[i] == '\xc3') {
        ASSERT_LT(i + 1, cut.size());
        EXPECT_EQ(cut[++i], '\xa4');
      } else {
        EXPECT_EQ(cut[i], '.');
      }
    }
  }
}

TEST(Table, ABarIsAsLongAsTheShareAndNeverEmptyForMoreThanNothing) {
  EXPECT_EQ(bar(10, 10, 8), "########");
  EXPECT_EQ(bar(5, 10, 8), "####");
  EXPECT_EQ(bar(1e-9, 10, 8), "#");
  EXPECT_EQ(bar(0, 10, 8), "");
}

TEST(Table, BarsOfALogarithmFallByTheFactor) {
  const std::vector<double> values = {100, 10, 1, 0};
  const std::vector<std::string> bars = log_bars(values);
  ASSERT_EQ(bars.size(), 4U);
  EXPECT_EQ(bars[0].size(), 24U);
  EXPECT_EQ(bars[1].size(), 13U);
  EXPECT_EQ(bars[2].size(), 1U);
  EXPECT_EQ(bars[3], "");
  EXPECT_EQ(log_bars(std::vector<double>{0, 0}), (std::vector<std::string>{"", ""}));
  EXPECT_EQ(log_bars(std::vector<double>{5}).front().size(), 24U);
}

TEST(Wrapped, BreaksAtSpacesAndCountsCharacters) {
  EXPECT_EQ(wrapped("a bb ccc", 80, 2), "a bb ccc\n");
  EXPECT_EQ(wrapped("a bb ccc", 4, 2), "a bb\n  ccc\n");
  EXPECT_EQ(wrapped("a  bb", 5, 0), "a  bb\n") << "spaces within a line stay";
  EXPECT_EQ(wrapped("\u00b1\u00b1 \u00b1", 4, 1), "\u00b1\u00b1 \u00b1\n");
  EXPECT_EQ(wrapped("x overlong y", 4, 2), "x\n  overlong\n  y\n");
  EXPECT_EQ(wrapped("", 4, 2), "\n");
}

}  // namespace
}  // namespace ram::cli
