#include "matvec.h"

#include <cmath>
#include <cstring>
#include <vector>

#include <gtest/gtest.h>

#include "buffer.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

std::vector<float> random_values(int64_t count, uint64_t seed) {
  return testing::random_values(seed, "values", count, 0, 1);
}

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

TEST(StoredMatvec, OfEveryFormatIsThatOfTheDecodedWeights) {
  const int64_t rows = 11;
  for (const AffineFormat format : kAffineFormats) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      const int64_t cols = 3 * format.group_size;
      const auto w = random_values(rows * cols, 1);
      const int64_t groups = rows * cols / format.group_size;
      const auto element = static_cast<int64_t>(dtype_bits(dtype) / 8);
      std::vector<std::byte> source(static_cast<size_t>(rows * cols * 4));
      from_f32(w.data(), DType::kF32, rows * cols, source.data());
      std::vector<uint32_t> codes(
          static_cast<size_t>(rows * cols * format.bits / 32 + kSlackBytes / 4));
      std::vector<std::byte> scales(static_cast<size_t>(groups * element + kSlackBytes));
      std::vector<std::byte> biases(scales.size());
      affine_encode(source.data(), DType::kF32, rows, cols, format, dtype, codes.data(),
                    scales.data(), biases.data());
      std::vector<float> decoded(static_cast<size_t>(rows * cols));
      affine_decode(codes.data(), scales.data(), biases.data(), dtype, rows, cols, format,
                    decoded.data());
      const auto x = random_values(cols, 2);
      std::vector<float> sums(static_cast<size_t>(cols / format.group_size));
      group_sums(x.data(), cols, format.group_size, sums.data());
      const StoredMatrix matrix{.format = format,
                                .dtype = dtype,
                                .rows = rows,
                                .cols = cols,
                                .weights = reinterpret_cast<const std::byte*>(codes.data()),
                                .scales = scales.data(),
                                .biases = biases.data()};
      std::vector<float> y(8);
      stored_matvec(matrix, x.data(), sums.data(), 3, 8, y.data());
      const auto expected = products_of(decoded, x, rows, cols);
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], expected[i + 3], 2e-5 * std::sqrt(static_cast<double>(cols)))
            << format_name(format);
      }
    }
  }
}

TEST(StoredMatvec, OfDenseWeightsTakesAnyNumberOfColumns) {
  const int64_t rows = 6;
  for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
    for (const int64_t cols : {1, 7, 64, 129, 300}) {
      const auto w = random_values(rows * cols, 3);
      std::vector<std::byte> stored(static_cast<size_t>(rows * cols * 4 + kSlackBytes));
      from_f32(w.data(), dtype, rows * cols, stored.data());
      std::vector<float> rounded(w.size());
      to_f32(stored.data(), dtype, rows * cols, rounded.data());
      const auto x = random_values(cols, 4);
      const StoredMatrix matrix{
          .format = {}, .dtype = dtype, .rows = rows, .cols = cols, .weights = stored.data()};
      std::vector<float> y(static_cast<size_t>(rows));
      stored_matvec(matrix, x.data(), nullptr, 0, rows, y.data());
      const auto expected = products_of(rounded, x, rows, cols);
      for (size_t i = 0; i < y.size(); ++i) {
        ASSERT_NEAR(y[i], expected[i], 1e-5 * std::sqrt(static_cast<double>(cols)) * 2);
      }
    }
  }
}

}  // namespace
}  // namespace ram
