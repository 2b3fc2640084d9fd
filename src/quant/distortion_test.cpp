#include "distortion.h"

#include "affine_ref.h"
#include "test_support.h"

namespace ram {
namespace {

constexpr std::array<Encoder, 2> kEncoders = {Encoder::kMlx, Encoder::kSimulated};

struct Shape {
  int64_t rows;
  int64_t cols;
};

bool same_bits(const Distortion& a, const Distortion& b) {
  const auto bits = [](double value) { return std::bit_cast<uint64_t>(value); };
  bool same = bits(a.sum_squares) == bits(b.sum_squares);
  for (size_t f = 0; f < kAffineFormats.size(); ++f) {
    same = same && bits(a.squared_error[f]) == bits(b.squared_error[f]);
  }
  return same;
}

Distortion plain(const std::vector<std::byte>& weights, DType source, Shape shape, DType dtype,
                 Encoder encoder) {
  return distortion_plain({weights.data(), source, shape.rows * shape.cols,
                           formats_for_cols(shape.cols), dtype, encoder});
}

/// Within `relative` of the truth, or too small to matter (NRMSE below 1e-7).
void expect_near_truth(const Distortion& found, const Distortion& truth, double relative,
                       const std::string& what) {
  EXPECT_NEAR(found.sum_squares, truth.sum_squares, relative * truth.sum_squares) << what;
  for (size_t f = 0; f < kAffineFormats.size(); ++f) {
    if (found.squared_error[f] == truth.squared_error[f]) continue;  // also if both are infinite
    EXPECT_NEAR(found.squared_error[f], truth.squared_error[f],
                relative * truth.squared_error[f] + 1e-14 * truth.sum_squares)
        << what << " " << format_name(kAffineFormats[f]);
  }
}

/// Compares the vector code of every target with plain code on one matrix.
void expect_plain_bits(Kind kind, Shape shape, DType dtype, Encoder encoder) {
  const int64_t count = shape.rows * shape.cols;
  const std::vector<std::byte> weights =
      as_dtype(matrix(kind, count, static_cast<uint64_t>(count)), dtype);
  if (find_non_finite_ref(weights.data(), dtype, count, dtype) >= 0) return;  // out of f16's range
  const Distortion expected = plain(weights, dtype, shape, dtype, encoder);
  on_each_target([&](const char* target) {
    const Distortion found = measure_distortion(weights.data(), dtype, shape.rows, shape.cols,
                                                formats_for_cols(shape.cols), dtype, encoder);
    EXPECT_TRUE(same_bits(found, expected))
        << target << ", kind " << static_cast<int>(kind) << ", " << shape.rows << "x" << shape.cols
        << " " << dtype_name(dtype);
  });
}

TEST(Distortion, EveryKindOfVectorGivesTheBitsOfPlainCode) {
  for (const Kind kind : kKinds) {
    for (const DType dtype : kWeightDtypes) {
      expect_plain_bits(kind, {17, 160}, dtype, Encoder::kMlx);
      expect_plain_bits(kind, {1, 384}, dtype, Encoder::kSimulated);
    }
  }
}

// Sizes that end within a run, a vector of groups, a block.
TEST(Distortion, EveryShapeGivesTheBitsOfPlainCode) {
  for (const Shape shape : {Shape{0, 32},
                            {1, 32},
                            {3, 32},
                            {17, 32},
                            {3, 96},
                            {1, 192},
                            {3, 192},
                            {17, 384},
                            {16, 128},
                            {17, 128}}) {
    for (const Encoder encoder : kEncoders) {
      expect_plain_bits(Kind::kGaussian, shape, DType::kBF16, encoder);
    }
  }
}

TEST(Distortion, WeightsAreCastBeforeTheyAreMeasured) {
  const Shape shape = {5, 384};
  const std::vector<float> values = matrix(Kind::kHeavyTail, 5 * 384, 3);
  on_each_target([&](const char* target) {
    for (const DType source : kWeightDtypes) {
      const std::vector<std::byte> weights = as_dtype(values, source);
      std::vector<float> wide(values.size());
      to_f32(weights.data(), source, 5 * 384, wide.data());
      for (const DType dtype : kWeightDtypes) {
        const std::vector<std::byte> cast = as_dtype(wide, dtype);
        const uint32_t formats = formats_for_cols(384);
        const Distortion direct =
            measure_distortion(weights.data(), source, 5, 384, formats, dtype, Encoder::kMlx);
        const Distortion afterwards =
            measure_distortion(cast.data(), dtype, 5, 384, formats, dtype, Encoder::kMlx);
        EXPECT_TRUE(same_bits(direct, afterwards))
            << target << " " << dtype_name(source) << " to " << dtype_name(dtype);
        EXPECT_TRUE(same_bits(direct, plain(weights, source, shape, dtype, Encoder::kMlx)));
      }
    }
  });
}

TEST(Distortion, WeightsNeedNotBeAligned) {
  const std::vector<float> values = matrix(Kind::kGaussian, 512, 4);
  for (const DType dtype : kWeightDtypes) {
    const std::vector<std::byte> weights = as_dtype(values, dtype);
    std::vector<std::byte> shifted(weights.size() + 1);
    std::copy(weights.begin(), weights.end(), shifted.begin() + 1);
    const auto measure = [&](const std::byte* at) {
      return measure_distortion(at, dtype, 2, 256, formats_for_cols(256), dtype, Encoder::kMlx);
    };
    EXPECT_TRUE(same_bits(measure(weights.data()), measure(shifted.data() + 1)));
  }
}

TEST(Distortion, OnlyTheFormatsAskedForAreMeasured) {
  const std::vector<std::byte> weights = as_dtype(matrix(Kind::kGaussian, 512, 5), DType::kBF16);
  const auto measure = [&](uint32_t formats) {
    return measure_distortion(weights.data(), DType::kBF16, 2, 256, formats, DType::kBF16,
                              Encoder::kMlx);
  };
  const Distortion all = measure(formats_for_cols(256));
  const uint32_t some = 1U << 7 | 1U << 17;
  const Distortion two = measure(some);
  EXPECT_EQ(two.sum_squares, all.sum_squares);
  for (size_t f = 0; f < kAffineFormats.size(); ++f) {
    EXPECT_EQ(two.squared_error[f], (some >> f & 1U) != 0 ? all.squared_error[f] : 0);
  }
}

TEST(Distortion, IsWithinAMillionthOfWhatIsStored) {
  // A matrix of the size of a unit, of the kinds that occur in models (bf16 weights often tie,
  // since their mantissa has 8 bits; with a plain reciprocal the error would be larger).
  const Shape shape = {64, 1024};
  for (const Kind kind :
       {Kind::kGaussian, Kind::kHeavyTail, Kind::kPositive, Kind::kTies, Kind::kSparse}) {
    const std::vector<float> values = matrix(kind, shape.rows * shape.cols, 6);
    for (const DType dtype : kWeightDtypes) {
      const std::vector<std::byte> weights = as_dtype(values, dtype);
      for (const Encoder encoder : kEncoders) {
        if (kind != Kind::kGaussian && encoder == Encoder::kSimulated) continue;
        const uint32_t formats = formats_for_cols(shape.cols);
        const Distortion found = measure_distortion(weights.data(), dtype, shape.rows, shape.cols,
                                                    formats, dtype, encoder);
        const Distortion truth = distortion_truth(weights.data(), dtype, shape.rows, shape.cols,
                                                  formats, dtype, encoder);
        // Subtracting the bias from float32 weights causes rounding noise that falls with the root
        // of their number; 16-bit weights lose almost nothing there.
        expect_near_truth(
            found, truth, dtype == DType::kF32 ? 3e-6 : 1e-6,
            std::string(dtype_name(dtype)) + " kind " + std::to_string(static_cast<int>(kind)));
      }
    }
  }
}

TEST(Distortion, SmallMatricesOfEveryKindAreNearTheTruth) {
  for (const Kind kind : kKinds) {
    const std::vector<float> values = matrix(kind, 3 * 384, 7);
    for (const DType dtype : kWeightDtypes) {
      const std::vector<std::byte> weights = as_dtype(values, dtype);
      if (find_non_finite_ref(weights.data(), dtype, 3 * 384, dtype) >= 0) continue;
      const uint32_t formats = formats_for_cols(384);
      for (const Encoder encoder : kEncoders) {
        expect_near_truth(
            measure_distortion(weights.data(), dtype, 3, 384, formats, dtype, encoder),
            distortion_truth(weights.data(), dtype, 3, 384, formats, dtype, encoder), 1e-5,
            std::string(dtype_name(dtype)) + " kind " + std::to_string(static_cast<int>(kind)));
      }
    }
  }
}

TEST(Distortion, AScaleThatOverflowsCountsAsInfiniteError) {
  std::vector<float> values(128, 3e38F);
  values[9] = -3e38F;
  const std::vector<std::byte> weights = as_dtype(values, DType::kBF16);
  const Distortion found = measure_distortion(weights.data(), DType::kBF16, 1, 128,
                                              formats_for_cols(128), DType::kBF16, Encoder::kMlx);
  EXPECT_TRUE(std::isinf(found.squared_error[17]));
  EXPECT_TRUE(std::isinf(nrmse(found.squared_error[17], found.sum_squares, 128)));
  EXPECT_LT(sqnr_db(found.squared_error[17], found.sum_squares, 128), 0);
  EXPECT_TRUE(std::isfinite(found.sum_squares));
}

TEST(Distortion, NothingIsLostOfAMatrixOfZerosOrOfOneValue) {
  for (const float value : {0.0F, 0.37F, -3.0F, 1e18F, 1e30F, -3.3e38F}) {
    const std::vector<std::byte> weights = as_dtype(std::vector<float>(256, value), DType::kBF16);
    const Distortion found = measure_distortion(weights.data(), DType::kBF16, 2, 128,
                                                formats_for_cols(128), DType::kBF16, Encoder::kMlx);
    for (const double error : found.squared_error) EXPECT_EQ(error, 0) << value;
  }
}

}  // namespace
}  // namespace ram
