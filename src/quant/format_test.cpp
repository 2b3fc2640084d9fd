#include "test_support.h"

namespace ram {
namespace {

TEST(Format, EveryFormatHasItsNameAndItsPlace) {
  for (int i = 0; i < kFormatCount; ++i) {
    const AffineFormat format = kAffineFormats[static_cast<size_t>(i)];
    EXPECT_EQ(format_index(format), i);
    EXPECT_EQ(parse_format(format_name(format)), format);
  }
  EXPECT_EQ(format_name({4, 64}), "4:64");
  EXPECT_EQ(kAffineFormats[0], (AffineFormat{2, 32}));
  EXPECT_EQ(kAffineFormats[17], (AffineFormat{8, 128}));
}

TEST(Format, WhatIsNoFormatIsNotTakenForOne) {
  for (const char* text :
       {"", "4", "4:", ":64", "7:64", "4:16", "4:64 ", " 4:64", "04:64", "4:064"}) {
    EXPECT_EQ(parse_format(text), std::nullopt) << text;
  }
  EXPECT_EQ(format_index({7, 64}), -1);
  EXPECT_EQ(format_index({4, 48}), -1);
}

TEST(Format, BytesPerWeightAreThePublishedOnes) {
  // @source docs/reference-method.md, bits per weight with 16-bit scales
  const std::vector<std::pair<const char*, double>> published = {
      {"2:64", 2.5}, {"2:32", 3.0},   {"3:64", 3.5}, {"3:32", 4.0}, {"4:128", 4.25},
      {"4:64", 4.5}, {"4:32", 5.0},   {"5:64", 5.5}, {"5:32", 6.0}, {"6:64", 6.5},
      {"6:32", 7.0}, {"8:128", 8.25}, {"8:64", 8.5}};
  for (const auto& [name, bpw] : published) {
    const int64_t bytes = encoded_bytes(768, 2048, *parse_format(name), DType::kBF16);
    EXPECT_EQ(static_cast<double>(bytes) * 8 / (768 * 2048), bpw) << name;
  }
  EXPECT_EQ(encoded_bytes(1, 32, {3, 32}, DType::kF32), 12 + 8);
  EXPECT_EQ(encoded_bytes(0, 32, {3, 32}, DType::kF32), 0);
}

TEST(Format, AMatrixTooLargeToCountIsRefused) {
  try {
    (void)encoded_bytes(int64_t{1} << 40, int64_t{1} << 40, {8, 32}, DType::kF32);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
  }
}

TEST(Format, RowsAllowTheGroupSizesThatDivideThem) {
  const auto sizes = [](int64_t cols) {
    std::vector<int> out;
    for (size_t i = 0; i < 3; ++i) {
      if ((formats_for_cols(cols) >> i & 1U) != 0) out.push_back(kAffineFormats[i].group_size);
    }
    return out;
  };
  using ::testing::ElementsAre;
  EXPECT_THAT(sizes(32), ElementsAre(32));
  EXPECT_THAT(sizes(96), ElementsAre(32));
  EXPECT_THAT(sizes(192), ElementsAre(32, 64));
  EXPECT_THAT(sizes(384), ElementsAre(32, 64, 128));
  EXPECT_EQ(formats_for_cols(384), (1U << kFormatCount) - 1);
  EXPECT_EQ(formats_for_cols(48), 0U);
  EXPECT_EQ(formats_for_cols(0), 0U);
}

TEST(Format, FiguresFollowTheirPublishedDefinitions) {
  EXPECT_DOUBLE_EQ(nrmse(1, 4, 100), 0.5);
  EXPECT_DOUBLE_EQ(nrmse(1, 99e-24, 100), 0);  // RMS of the weights below 1e-12
  EXPECT_DOUBLE_EQ(nrmse(0, 0, 0), 0);
  EXPECT_DOUBLE_EQ(sqnr_db(1, 100, 50), 20);
  EXPECT_DOUBLE_EQ(sqnr_db(0.99e-18, 1, 100), 100);  // mean squared error below 1e-20
  EXPECT_NEAR(sqnr_db(0.3548 * 0.3548, 1, 10), 9, 1e-3);
}

TEST(Format, SumsAddFieldByField) {
  Distortion a;
  a.sum_squares = 1;
  a.squared_error[3] = 2;
  Distortion b = a;
  b.squared_error[17] = 5;
  a += b;
  EXPECT_EQ(a.sum_squares, 2);
  EXPECT_EQ(a.squared_error[3], 4);
  EXPECT_EQ(a.squared_error[17], 5);
}

}  // namespace
}  // namespace ram
