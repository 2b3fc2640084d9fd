// Encoding decoded weights. In general this does not restore the codes, nor does it in MLX: a group
// whose codes do not reach both ends is stretched. A group whose codes do is restored bit for bit.
#include <algorithm>
#include <cmath>

#include "test_support.h"

namespace ram {
namespace {

constexpr int64_t kRows = 64;
constexpr int64_t kCols = 256;

struct Once {
  std::vector<float> scales;
  std::vector<float> decoded;
};

Once encoded_and_decoded(const std::vector<float>& values, AffineFormat format, DType dtype) {
  const std::vector<std::byte> weights = as_dtype(values, dtype);
  Encoded encoded(kRows * kCols, format, dtype);
  affine_encode(weights.data(), dtype, kRows, kCols, format, dtype, encoded.codes.data(),
                encoded.scales.data(), encoded.biases.data());
  Once once;
  once.scales.resize(static_cast<size_t>(kRows * kCols / format.group_size));
  to_f32(encoded.scales.data(), dtype, std::ssize(once.scales), once.scales.data());
  once.decoded.resize(values.size());
  affine_decode(encoded.codes.data(), encoded.scales.data(), encoded.biases.data(), dtype, kRows,
                kCols, format, once.decoded.data());
  return once;
}

TEST(EncodedAgain, AGroupThatReachesBothEndsIsTheSameAndAnyOtherLosesTwoStepsAtMost) {
  Gaussian gaussian(7);
  std::vector<float> values(static_cast<size_t>(kRows * kCols));
  for (float& value : values) value = static_cast<float>(gaussian());
  for (const DType dtype : kWeightDtypes) {
    for (const AffineFormat format : kAffineFormats) {
      SCOPED_TRACE(format_name(format) + " " + std::string(dtype_name(dtype)));
      const Once first = encoded_and_decoded(values, format, dtype);
      const Once second = encoded_and_decoded(first.decoded, format, dtype);
      // bf16 has 8 bits of precision, too few for 256 steps between two of its values.
      const bool exact = dtype != DType::kBF16 || format.bits < 8;
      int reach = 0;
      for (size_t group = 0; group < first.scales.size(); ++group) {
        const auto size = static_cast<size_t>(format.group_size);
        const float* before = first.decoded.data() + group * size;
        const float* after = second.decoded.data() + group * size;
        const float step = std::abs(first.scales[group]);
        const auto [low, high] = std::minmax_element(before, before + size);
        const auto steps = std::lround((*high - *low) / step);
        const bool reaches = steps == (1 << format.bits) - 1;
        if (reaches) ++reach;
        for (size_t i = 0; i < size; ++i) {
          if (reaches && exact) {
            ASSERT_EQ(after[i], before[i]) << "group " << group;
          } else {
            ASSERT_LE(std::abs(after[i] - before[i]), 2.01F * step) << "group " << group;
          }
        }
      }
      EXPECT_GT(reach, std::ssize(first.scales) / 5);
    }
  }
}

}  // namespace
}  // namespace ram
