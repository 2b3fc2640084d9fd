#include "ram/number.h"

#include <bit>
#include <clocale>
#include <cstdint>
#include <cstdlib>
#include <random>
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "ram/size.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

TEST(Numbers, ReadsWhatIsADecimalNumberAndNothingElse) {
  for (const auto& [text, value] : {std::pair{"4", 4.0},
                                    {"-0.5", -0.5},
                                    {"+.5", 0.5},
                                    {"5.", 5.0},
                                    {"1.23e+01", 12.3},
                                    {"1E-2", 0.01},
                                    {"0", 0.0},
                                    {"4.9e-324", 4.9e-324},
                                    {"1e-400", 0.0},
                                    {"1.7976931348623157e308", 1.7976931348623157e308}}) {
    EXPECT_EQ(parse_number(text), value) << text;
  }
  for (const char* text : {"", ".", "+", "-.", "e5", "1e", "1e+", "1,5", " 1", "1 ", "0x10", "inf",
                           "nan", "-inf", "1.2.3", "--1", "1e999", "1e5.", "\u0661"}) {
    EXPECT_EQ(parse_number(text), std::nullopt) << text;
  }
}

TEST(Numbers, ReadsEveryDoubleThatWasWritten) {
  std::mt19937_64 random(5);
  for (int i = 0; i < 20000; ++i) {
    const auto value = std::bit_cast<double>(uint64_t{random()});
    if (!std::isfinite(value)) continue;
    EXPECT_EQ(parse_number(fmt::format("{}", value)), value);
  }
}

// In a locale with a decimal comma: an installed one, else one that localedef makes here.
TEST(Numbers, KnowsNoLocale) {
  const testing::TempFolder folder;
  const std::string before = std::setlocale(LC_ALL, nullptr);
  const char* found = std::setlocale(LC_ALL, "de_DE.UTF-8");
  if (found == nullptr) {
    const std::string made = (folder / "de_DE.UTF-8").string();
    const std::string command =
        "localedef -i de_DE -f UTF-8 '" + made + "' >'" + made + ".log' 2>&1";
    if (std::system(command.c_str()) == 0) {
      setenv("LOCPATH", folder.path().c_str(), 1);
      found = std::setlocale(LC_ALL, "de_DE.UTF-8");
      unsetenv("LOCPATH");
    }
  }
  if (found == nullptr) GTEST_SKIP() << "skipped: no locale with a decimal comma can be made";
  ASSERT_STREQ(std::localeconv()->decimal_point, ",");
  EXPECT_EQ(parse_number("1.23e+01"), 12.3);
  EXPECT_EQ(parse_number("1,5"), std::nullopt);
  EXPECT_EQ(parse_size("2.5MB").bytes, 2'500'000);
  std::setlocale(LC_ALL, before.c_str());
}

}  // namespace
}  // namespace ram
