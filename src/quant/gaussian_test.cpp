// The published values for Gaussian weights, on one large seeded sample.
#include "test_support.h"

namespace ram {
namespace {

struct Published {
  const char* format;
  double nrmse;
};

constexpr int64_t kWeights = int64_t{1} << 20;

/// Of standard normal weights in bf16. (At 8 bits, the error of rounding the scale to bf16 depends
/// on the deviation: on where the scales are between powers of two.)
Distortion gaussian_distortion(Encoder encoder) {
  Gaussian gaussian(42);
  std::vector<float> values(static_cast<size_t>(kWeights));
  for (float& value : values) value = static_cast<float>(gaussian());
  const std::vector<std::byte> weights = as_dtype(values, DType::kBF16);
  return measure_distortion(weights.data(), DType::kBF16, kWeights / 1024, 1024,
                            formats_for_cols(1024), DType::kBF16, encoder);
}

void expect_published(const Distortion& found, const std::vector<Published>& values,
                      double relative) {
  for (const auto& [name, value] : values) {
    const auto f = static_cast<size_t>(format_index(parse_format(name).value()));
    EXPECT_NEAR(nrmse(found.squared_error[f], found.sum_squares, kWeights) / value, 1, relative)
        << name;
  }
}

TEST(Gaussian, TheReferenceQuantizerLosesWhatIsPublished) {
  // @source docs/reference-method.md, "Reference values"
  expect_published(gaussian_distortion(Encoder::kSimulated),
                   {{"2:32", .3930},
                    {"2:64", .4499},
                    {"3:32", .1678},
                    {"3:64", .1922},
                    {"4:32", .0782},
                    {"4:64", .0896},
                    {"4:128", .0997},
                    {"5:32", .0378},
                    {"5:64", .0434},
                    {"6:32", .0186},
                    {"6:64", .0213},
                    {"8:64", .00527},
                    {"8:128", .00586}},
                   3e-3);
}

TEST(Gaussian, TheMlxEncoderLosesWhatWasMeasuredWithMlx) {
  // @source docs/formats/affine.md, relative RMS error at group size 64, bf16
  expect_published(gaussian_distortion(Encoder::kMlx),
                   {{"2:64", .3940},
                    {"3:64", .1901},
                    {"4:64", .0910},
                    {"5:64", .0444},
                    {"6:64", .0222},
                    {"8:64", .0072}},
                   1e-2);
}

}  // namespace
}  // namespace ram
