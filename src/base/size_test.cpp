#include "ram/size.h"

#include <limits>
#include <random>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

namespace ram {
namespace {

TEST(Size, TypedSizesMeanWhatTheySay) {
  EXPECT_EQ(parse_size("19GB").bytes, 19000000000);
  EXPECT_EQ(parse_size("17.5GiB").bytes, 18790481920);
  EXPECT_EQ(parse_size("900MB").bytes, 900000000);
  EXPECT_EQ(parse_size("850 MiB").bytes, 891289600);
  EXPECT_EQ(parse_size("123456789012345678").bytes, 123456789012345678);
  EXPECT_EQ(parse_size("1.5kb").bytes, 1500);
  EXPECT_EQ(parse_size("35%").resolve(1000), 350);
  EXPECT_EQ(parse_size("12.5%").resolve(1000), 125);
  EXPECT_EQ(parse_size("7").resolve(1000), 7);
}

TEST(Size, EverySizeOfTwoDecimalsIsExact) {
  const std::pair<const char*, int64_t> units[] = {
      {"kB", 1000}, {"MB", 1000000}, {"GB", 1000000000}, {"TB", 1000000000000}};
  for (int64_t hundredths = 1; hundredths < 10000; ++hundredths) {
    const std::string number = fmt::format("{}.{:02}", hundredths / 100, hundredths % 100);
    for (const auto& [name, bytes] : units) {
      ASSERT_EQ(parse_size(number + name).bytes, hundredths * (bytes / 100)) << number << name;
    }
    // 2^30 / 100 is not an integer: rounded down.
    ASSERT_EQ(parse_size(number + "GiB").bytes, hundredths * (int64_t{1} << 30) / 100) << number;
    ASSERT_EQ(parse_size(number + "%").resolve(1000000), hundredths * 100) << number;
  }
}

TEST(Size, DigitsAreTakenAsTheyAreHoweverMany) {
  EXPECT_EQ(parse_size("8.2GB").bytes, 8200000000);
  EXPECT_EQ(parse_size("1.001MB").bytes, 1001000);
  EXPECT_EQ(parse_size("000000000000000000000001.50kB").bytes, 1500);
  EXPECT_EQ(parse_size(".5kB").bytes, 500);
  EXPECT_EQ(parse_size("2.kB").bytes, 2000);
  EXPECT_EQ(parse_size("0.99999999999999999999999999999999MB").bytes, 999999);
  EXPECT_EQ(parse_size("1.00000000000000000000000000000009TB").bytes, 1000000000000);
  EXPECT_EQ(parse_size("4611686018427387903").bytes, (int64_t{1} << 62) - 1);
  EXPECT_EQ(parse_size("4611686.018427387903TB").bytes, (int64_t{1} << 62) - 1);
  for (const char* large : {"4611686018427387904", "4611686.018427387904TB", "4194304TiB",
                            "99999999999999999999999999", "9223372036854775808"}) {
    EXPECT_THROW((void)parse_size(large), Error) << large;
  }
}

TEST(Size, SharesAreExactAlsoOfTheLargestModel) {
  constexpr int64_t kLargest = int64_t{1} << 62;
  EXPECT_EQ(parse_size("100%").resolve(kLargest), kLargest);
  EXPECT_EQ(parse_size("100.000%").resolve(kLargest - 1), kLargest - 1);
  EXPECT_EQ(parse_size("25%").resolve(kLargest), kLargest / 4);
  EXPECT_EQ(parse_size("0.0000000000000001%").resolve(kLargest), 4);
  EXPECT_EQ(parse_size("99.9999999999999999%").resolve(1000000000000000000), 999999999999999999);
  EXPECT_EQ(parse_size("28.7%").resolve(1000), 287);
  EXPECT_EQ(parse_size("50%").resolve(0), 0);
  EXPECT_THROW((void)parse_size("0.00000000000000001%"), Error);
}

TEST(Size, WhatIsUnclearIsRefusedWithOneLine) {
  for (const char* text : {"19G", "5M",  "",     "GB",      "-3GB",         "0",       "0.1",
                           "1e9", "inf", "0x10", "1.2.3GB", "19 parsecs",   "150%",    "100.01%",
                           "0%",  ".",   ".GB",  "00.00GB", "9999999999TB", "0.0001B", "1,5GB"}) {
    try {
      (void)parse_size(text);
      FAIL() << text << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kUsage);
      EXPECT_THAT(error.what(), ::testing::HasSubstr(fmt::format("'{}'", text)));
      EXPECT_THAT(error.what(), ::testing::Not(::testing::HasSubstr("\n")));
    }
  }
}

TEST(Size, ArithmeticOverflowIsNoticed) {
  EXPECT_EQ(checked_mul(int64_t{1} << 31, int64_t{1} << 31), int64_t{1} << 62);
  EXPECT_FALSE(checked_mul(int64_t{1} << 32, int64_t{1} << 31).has_value());
  EXPECT_FALSE(checked_mul(-1, 1).has_value());
  EXPECT_FALSE(checked_add(INT64_MAX, 1).has_value());
  EXPECT_EQ(checked_add(INT64_MAX, 0), INT64_MAX);
}

TEST(Size, PrintedSizesAreForPeople) {
  EXPECT_EQ(format_bytes(999), "999 B");
  EXPECT_EQ(format_bytes(18240000000), "18.24 GB");
  EXPECT_EQ(format_bytes(999960), "1.000 MB");
}

TEST(Size, WhatIsShownAsNeededIsEnoughAndHardlyMore) {
  EXPECT_EQ(format_enough_bytes(0), "0 B");
  EXPECT_EQ(format_enough_bytes(999), "999 B");
  EXPECT_EQ(format_enough_bytes(466812345), "466.9 MB");
  EXPECT_EQ(format_enough_bytes(466800000), "466.8 MB");
  EXPECT_EQ(format_enough_bytes(9999001), "10.00 MB");
  EXPECT_EQ(format_enough_bytes(999960001), "1.000 GB");
  std::mt19937_64 random(1);
  for (int i = 0; i < 20000; ++i) {
    const auto bytes = 1 + static_cast<int64_t>(random() >> (2 + random() % 61));
    const int64_t shown = parse_size(format_enough_bytes(bytes)).bytes;
    EXPECT_GE(shown, bytes);
    EXPECT_LE(static_cast<double>(shown), static_cast<double>(bytes) * 1.0011);
  }
}

TEST(GroupDigits, PutsACommaBetweenEachThreeDigits) {
  EXPECT_EQ(group_digits(0), "0");
  EXPECT_EQ(group_digits(999), "999");
  EXPECT_EQ(group_digits(1000), "1,000");
  EXPECT_EQ(group_digits(-123456), "-123,456");
  EXPECT_EQ(group_digits(2868736), "2,868,736");
  EXPECT_EQ(group_digits(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Size, ATypedSizeIsShortAndEnough) {
  EXPECT_EQ(format_typed_bytes(18'100'000'000), "19GB");
  EXPECT_EQ(format_typed_bytes(2'810'000), "2.9MB");
  EXPECT_EQ(format_typed_bytes(999'999), "999999");
  for (int64_t bytes = 1; bytes < int64_t{1} << 60; bytes += bytes / 7 + 1) {
    const std::string typed = format_typed_bytes(bytes);
    const int64_t read = parse_size(typed).resolve(1);
    EXPECT_GE(read, bytes) << typed;
    EXPECT_LE(static_cast<double>(read), 1.1 * static_cast<double>(bytes)) << typed;
  }
}

}  // namespace
}  // namespace ram
