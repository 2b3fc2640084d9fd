#include "cpu/matvec.h"

#include <cmath>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "cpu/buffer.h"
#include "support/each_target.h"
#include "support/random_values.h"

namespace ram {
namespace {

std::vector<double> products_of(const std::vector<float>& w, const std::vector<float>& x,
                                int64_t rows, int64_t cols) {
  std::vector<double> y;
  for (int64_t i = 0; i < rows; ++i) {
    double sum = 0;
    for (int64_t j = 0; j < cols; ++j) sum += double{w[i * cols + j]} * double{x[j]};
    y.push_back(sum);
  }
  return y;
}

// Bytes past the ends are NaN as floats and must not affect results.
std::vector<std::byte> with_slack(int64_t bytes) {
  return std::vector<std::byte>(static_cast<size_t>(bytes + kSlackBytes), std::byte{0xFF});
}

void expect_products_of_decoded(AffineFormat format, DType dtype, int64_t cols,
                                const std::string& target) {
  const int64_t rows = 11;
  const auto w = testing::random_values(rows * cols, 1);
  const int64_t scales_size = scale_bytes(rows * cols, format, dtype);
  std::vector<std::byte> source(static_cast<size_t>(rows * cols * 4));
  from_f32(w.data(), DType::kF32, rows * cols, source.data());
  auto stored = with_slack(rows * cols * format.bits / 8);
  auto* codes = reinterpret_cast<uint32_t*>(stored.data());
  auto scales = with_slack(scales_size);
  auto biases = with_slack(scales_size);
  affine_encode(source.data(), DType::kF32, rows, cols, format, dtype, codes, scales.data(),
                biases.data());
  std::vector<float> decoded(static_cast<size_t>(rows * cols));
  affine_decode(codes, scales.data(), biases.data(), dtype, rows, cols, format, decoded.data());
  const auto x = testing::random_values(cols, 2);
  std::vector<float> arranged(static_cast<size_t>(arranged_floats(format, cols)));
  arrange_input(format, cols, x.data(), arranged.data());
  const StoredMatrix matrix{.format = format,
                            .dtype = dtype,
                            .rows = rows,
                            .cols = cols,
                            .weights = stored.data(),
                            .scales = scales.data(),
                            .biases = biases.data()};
  std::vector<float> y(8);
  stored_matvec(matrix, arranged.data(), 3, 8, y.data());
  const auto expected = products_of(decoded, x, rows, cols);
  for (size_t i = 0; i < y.size(); ++i) {
    ASSERT_NEAR(y[i], expected[i + 3], 2e-5 * std::sqrt(static_cast<double>(cols)))
        << format_name(format) << ", " << cols << " columns, " << target;
  }
}

TEST(StoredMatvec, OfEveryFormatIsThatOfTheDecodedWeights) {
  on_each_target([](const std::string& target) {
    for (const AffineFormat format : kAffineFormats) {
      for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
        for (const int64_t groups : {1, 3, 19}) {
          expect_products_of_decoded(format, dtype, groups * format.group_size, target);
        }
      }
    }
  });
}

TEST(StoredMatvec, OfARowIsTheSameInEveryCut) {
  const AffineFormat format{.bits = 3, .group_size = 32};
  const int64_t rows = 16;
  const int64_t cols = 160;
  auto codes = with_slack(rows * cols * format.bits / 8);
  for (size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::byte>(i * 37);
  const auto scales = testing::random_values(rows * cols / format.group_size + kSlackBytes, 5);
  const auto x = testing::random_values(cols, 6);
  std::vector<float> arranged(static_cast<size_t>(arranged_floats(format, cols)));
  arrange_input(format, cols, x.data(), arranged.data());
  const auto* stored_scales = reinterpret_cast<const std::byte*>(scales.data());
  const StoredMatrix matrix{.format = format,
                            .dtype = DType::kF32,
                            .rows = rows,
                            .cols = cols,
                            .weights = codes.data(),
                            .scales = stored_scales,
                            .biases = stored_scales};
  std::vector<float> whole(rows);
  stored_matvec(matrix, arranged.data(), 0, rows, whole.data());
  for (int64_t i = 0; i < rows; ++i) {
    float one = 0;
    stored_matvec(matrix, arranged.data(), i, 1, &one);
    EXPECT_EQ(one, whole[static_cast<size_t>(i)]);
  }
}

TEST(StoredMatvec, OfDenseWeightsTakesAnyNumberOfColumns) {
  const int64_t rows = 6;
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const int64_t cols : {1, 7, 64, 129, 300}) {
      const auto w = testing::random_values(rows * cols, 3);
      std::vector<std::byte> stored(static_cast<size_t>(rows * cols * 4 + kSlackBytes));
      from_f32(w.data(), dtype, rows * cols, stored.data());
      std::vector<float> rounded(w.size());
      to_f32(stored.data(), dtype, rows * cols, rounded.data());
      const auto x = testing::random_values(cols, 4);
      const StoredMatrix matrix{
          .format = {}, .dtype = dtype, .rows = rows, .cols = cols, .weights = stored.data()};
      std::vector<float> y(static_cast<size_t>(rows));
      stored_matvec(matrix, x.data(), 0, rows, y.data());
      const auto expected = products_of(rounded, x, rows, cols);
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], expected[i], 1e-5 * std::sqrt(static_cast<double>(cols)) * 2);
      }
    }
  }
}

}  // namespace
}  // namespace ram
