#include "ram/encoder.h"

#include <cmath>
#include <random>

#include <gtest/gtest.h>

#include "reference.h"

namespace ram {
namespace {

std::vector<float> normal(int64_t count, uint32_t seed) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> deviate;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = bf16_to_f32(f32_to_bf16(deviate(bits)));
  return values;
}

TEST(Encoder, EachStepLosesLessThanTheOneBefore) {
  constexpr int64_t kCols = 256;
  ThreadPool pool(2);
  std::vector<float> inputs = normal(1000 * kCols, 1);
  for (size_t i = 1; i < inputs.size(); ++i) inputs[i] += 0.9F * inputs[i - 1];
  SecondMoment moment(kCols);
  moment.add(inputs.data(), 1000, pool);
  const std::vector<float> weights = normal(32 * kCols, 2);
  for (const AffineFormat format : kAffineFormats) {
    const EncodeRequest request = {weights, 32, kCols, format, DType::kBF16};
    const double mlx = weighted_error(request, mlx_encode(request, pool), moment, pool);
    const double search =
        weighted_error(request, search_encode(request, moment.diagonal(), pool), moment, pool);
    const double feedback = weighted_error(
        request, FeedbackEncoder(moment, {}, pool).encode(request, pool), moment, pool);
    EXPECT_LT(search, mlx) << format_name(format);
    EXPECT_LT(feedback, 0.7 * search) << format_name(format);
  }
}

}  // namespace
}  // namespace ram
