#include "ram/size.h"

#include <limits>

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

TEST(Size, WhatIsUnclearIsRefusedWithOneLine) {
  for (const char* text :
       {"19G", "5M", "", "GB", "-3GB", "0", "0.1", "1e9", "inf", "0x10", "1.2.3GB", "19 parsecs",
        "150%", "0%", "9999999999TB", "0.0001B", "1,5GB"}) {
    try {
      (void)parse_size(text);
      FAIL() << text << " was accepted";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kUsage);
      EXPECT_THAT(error.what(), testing::HasSubstr(fmt::format("'{}'", text)));
      EXPECT_THAT(error.what(), testing::Not(testing::HasSubstr("\n")));
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

TEST(GroupDigits, PutsACommaBetweenEachThreeDigits) {
  EXPECT_EQ(group_digits(0), "0");
  EXPECT_EQ(group_digits(999), "999");
  EXPECT_EQ(group_digits(1000), "1,000");
  EXPECT_EQ(group_digits(-123456), "-123,456");
  EXPECT_EQ(group_digits(2868736), "2,868,736");
  EXPECT_EQ(group_digits(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

}  // namespace
}  // namespace ram
