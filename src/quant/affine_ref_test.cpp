#include "affine_ref.h"

#include "test_support.h"

namespace ram {
namespace {

TEST(AffineReference, StoresWhatMlxStoresBitForBit) {
  int compared = 0;
  for (const VectorCase& vector : mlx_vectors()) {
    for (const VectorCase::Format& stored : vector.formats) {
      Encoded mine(vector.rows * vector.cols, stored.format, vector.dtype);
      affine_encode_ref(vector.weights.data(), vector.dtype, vector.rows, vector.cols,
                        stored.format, vector.dtype, mine.codes.data(), mine.scales.data(),
                        mine.biases.data());
      EXPECT_TRUE(mine == stored.encoded)
          << vector.name << " " << dtype_name(vector.dtype) << " " << vector.rows << "x"
          << vector.cols << " " << format_name(stored.format);
      ++compared;
    }
  }
  EXPECT_EQ(compared, 3 * (18 + 6 + 6 + 6 + 12 + 18));
}

TEST(AffineReference, ReadsBackWhatMlxReadsBack) {
  int compared = 0;
  for (const VectorCase& vector : mlx_vectors()) {
    if (vector.dtype != DType::kF32) continue;
    for (const VectorCase::Format& stored : vector.formats) {
      std::vector<float> mine(stored.decoded_row.size());
      affine_decode_ref(stored.encoded.codes.data(), stored.encoded.scales.data(),
                        stored.encoded.biases.data(), vector.dtype, 1, vector.cols, stored.format,
                        mine.data());
      EXPECT_EQ(mine, stored.decoded_row) << vector.name << " " << format_name(stored.format);
      ++compared;
    }
  }
  EXPECT_EQ(compared, 18 + 6 + 6 + 6 + 12 + 18);
}

TEST(AffineReference, DistortionIsThatOfTheDecodedMatrix) {
  const std::vector<float> values = matrix(Kind::kGaussian, 4 * 256, 1);
  for (const DType dtype : kWeightDtypes) {
    const std::vector<std::byte> weights = as_dtype(values, dtype);
    std::vector<float> cast(values.size());
    to_f32(weights.data(), dtype, 4 * 256, cast.data());
    const Distortion truth = distortion_truth(weights.data(), dtype, 4, 256, formats_for_cols(256),
                                              dtype, Encoder::kMlx);
    for (size_t f = 0; f < kAffineFormats.size(); ++f) {
      Encoded encoded(4 * 256, kAffineFormats[f], dtype);
      affine_encode_ref(weights.data(), dtype, 4, 256, kAffineFormats[f], dtype,
                        encoded.codes.data(), encoded.scales.data(), encoded.biases.data());
      std::vector<float> decoded(values.size());
      affine_decode_ref(encoded.codes.data(), encoded.scales.data(), encoded.biases.data(), dtype,
                        4, 256, kAffineFormats[f], decoded.data());
      double squared_error = 0;
      for (size_t i = 0; i < cast.size(); ++i) {
        squared_error +=
            std::pow(static_cast<double>(decoded[i]) - static_cast<double>(cast[i]), 2);
      }
      // Only the rounding of the decoded float32 may differ.
      EXPECT_NEAR(truth.squared_error[f] / squared_error, 1, 1e-5)
          << format_name(kAffineFormats[f]);
    }
  }
}

}  // namespace
}  // namespace ram
