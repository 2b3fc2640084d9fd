// Error feedback on MLX's grid against mlx_lm's GPTQ: same weights, inputs, order and damping. The
// figures are from tests/peers/gptq_vs_mlx_lm.py.
#include <fstream>

#include "ram/thread.h"

#include "test_support.h"

namespace ram {
namespace {

/// Like noise() of the script; exact on every machine.
std::vector<float> noise(int64_t count, uint32_t seed) {
  std::vector<float> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i) {
    uint32_t x = static_cast<uint32_t>(i) + seed * 0x9E3779B9U;
    x = (x ^ (x >> 16)) * 0x7FEB352DU;
    x = (x ^ (x >> 15)) * 0x846CA68BU;
    x ^= x >> 16;
    uint32_t total = 0;
    for (const int shift : {0, 8, 16, 24}) total += (x >> shift) & 255U;
    values[i] = (static_cast<float>(total) - 510.0F) / 128.0F;
  }
  return values;
}

TEST(Gptq, OnTheSameGridWeLoseWhatMlxLmLoses) {
  std::ifstream in(RAM_SOURCE_DIR "/tests/vectors/gptq.txt");
  std::string word;
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t tokens = 0;
  in >> word >> rows >> cols >> tokens;
  ASSERT_EQ(word, "matrix");
  std::vector<float> inputs = noise(tokens * cols, 1);
  for (int64_t t = 0; t < tokens; ++t) {
    float* row = inputs.data() + t * cols;
    for (int64_t i = 1; i < cols; ++i) row[i] += 0.875F * row[i - 1];
  }
  const std::vector<float> weights = noise(rows * cols, 2);
  ThreadPool pool(2);
  SecondMoment moment(cols);
  moment.add(inputs.data(), tokens, pool);
  const FeedbackEncoder same(moment, {.grid = GroupGrid::kMlx, .tries = 0, .sweeps = 0}, pool);
  const FeedbackEncoder best(moment, {}, pool);
  AffineFormat format;
  int count = 0;
  double mlx_lm_error = 0;
  double plain = 0;
  while (in >> format.bits >> format.group_size >> mlx_lm_error >> plain) {
    const EncodeRequest request = {weights, rows, cols, format, DType::kF32};
    const auto lost = [&](const EncodedMatrix& encoded) {
      return weighted_error(request, encoded, moment, pool);
    };
    EXPECT_NEAR(lost(mlx_encode(request, pool)) / plain, 1, 1e-4) << format_name(format);
    EXPECT_NEAR(lost(same.encode(request, pool)) / mlx_lm_error, 1, 0.01) << format_name(format);
    EXPECT_LT(lost(best.encode(request, pool)), 0.95 * mlx_lm_error) << format_name(format);
    ++count;
  }
  EXPECT_EQ(count, 9);
}

}  // namespace
}  // namespace ram
