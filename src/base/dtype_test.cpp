// Conversions against the definition of the formats, over all 16-bit patterns.
#include "ram/dtype.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace ram {
namespace {

// The value of an f16 by its definition: sign, 2^(e-15), 1.m, or m * 2^-24 for denormals.
double f16_by_definition(uint16_t bits) {
  const double sign = (bits & 0x8000U) != 0 ? -1 : 1;
  const int exponent = (bits >> 10) & 0x1f;
  const int mantissa = bits & 0x3ff;
  if (exponent == 31) {
    return mantissa == 0 ? sign * std::numeric_limits<double>::infinity() : std::nan("");
  }
  if (exponent == 0) return sign * std::ldexp(mantissa, -24);
  return sign * std::ldexp(1024 + mantissa, exponent - 25);
}

TEST(DType, EveryF16HasTheValueOfItsDefinition) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const double expected = f16_by_definition(static_cast<uint16_t>(bits));
    const float got = f16_to_f32(static_cast<uint16_t>(bits));
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(got)) << bits;
    } else {
      EXPECT_EQ(static_cast<double>(got), expected) << bits;
      EXPECT_EQ(std::signbit(got), (bits & 0x8000U) != 0) << bits;
    }
  }
}

TEST(DType, EveryF16AndBf16SurvivesTheWayThroughF32) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    const auto half = static_cast<uint16_t>(bits);
    if (!std::isnan(f16_to_f32(half))) {
      EXPECT_EQ(f32_to_f16(f16_to_f32(half)), half);
    }
    if (!std::isnan(bf16_to_f32(half))) {
      EXPECT_EQ(f32_to_bf16(bf16_to_f32(half)), half);
    }
  }
}

TEST(DType, HalfwayBetweenTwoNeighboursGoesToTheEvenOne) {
  for (uint32_t bits = 0; bits < 0x7bff; ++bits) {  // after the last finite value comes infinity
    const auto low = static_cast<uint16_t>(bits);
    const auto high = static_cast<uint16_t>(bits + 1);
    const float middle = (f16_to_f32(low) + f16_to_f32(high)) / 2;  // exact: one bit more
    const uint16_t even = (low & 1U) == 0 ? low : high;
    ASSERT_EQ(f32_to_f16(middle), even) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 0.0F)), low) << bits;
    ASSERT_EQ(f32_to_f16(std::nextafterf(middle, 1e9F)), high) << bits;
  }
  for (uint32_t bits = 0; bits < 0x7f7f; ++bits) {
    const auto low = static_cast<uint16_t>(bits);
    const float middle = std::bit_cast<float>((bits << 16) | 0x8000U);
    const auto even = static_cast<uint16_t>((low & 1U) == 0 ? low : low + 1);
    ASSERT_EQ(f32_to_bf16(middle), even) << bits;
  }
}

TEST(DType, WhatIsTooLargeBecomesInfinityAndNanStaysNan) {
  EXPECT_EQ(f32_to_f16(65519.0F), 0x7bff);
  EXPECT_EQ(f32_to_f16(65520.0F), 0x7c00);
  EXPECT_EQ(f32_to_f16(-1e30F), 0xfc00);
  EXPECT_EQ(f32_to_bf16(std::numeric_limits<float>::max()), 0x7f80);
  const float nan = std::bit_cast<float>(0x7f800001U);  // its payload is in the dropped bits
  EXPECT_TRUE(std::isnan(f16_to_f32(f32_to_f16(nan))));
  EXPECT_TRUE(std::isnan(bf16_to_f32(f32_to_bf16(nan))));
}

TEST(DType, NamesRoundTrip) {
  for (const char* name : {"BOOL", "F4", "F6_E2M3", "F8_E4M3", "F16", "BF16", "F32", "U64"}) {
    ASSERT_TRUE(parse_dtype(name).has_value()) << name;
    EXPECT_EQ(dtype_name(*parse_dtype(name)), name);
  }
  EXPECT_FALSE(parse_dtype("bf16").has_value());
  EXPECT_EQ(parse_weight_dtype("bfloat16"), DType::kBF16);
  EXPECT_EQ(parse_weight_dtype("torch.float16"), DType::kF16);
  EXPECT_FALSE(parse_weight_dtype("int8").has_value());
}

}  // namespace
}  // namespace ram
