// Shared by the tests of this module: seeded weights of every kind, and inputs that are correlated
// like those of a model.
#pragma once

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/encoder.h"
#include "ram/thread.h"

#include "support/each_target.h"

namespace ram {

/// Seeded normal deviates, the same with every standard library (Box and Muller).
inline std::vector<float> normal(int64_t count, uint64_t seed) {
  std::mt19937_64 bits(seed);
  const auto uniform = [&] { return (static_cast<double>(bits() >> 11) + 0.5) * 0x1p-53; };
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    value = static_cast<float>(radius * std::cos(6.283185307179586 * uniform()));
  }
  return values;
}

inline std::vector<float> cast(std::vector<float> values, DType dtype) {
  std::vector<std::byte> stored(values.size() * 4);
  from_f32(values.data(), dtype, static_cast<int64_t>(values.size()), stored.data());
  to_f32(stored.data(), dtype, static_cast<int64_t>(values.size()), values.data());
  return values;
}

/// The values of a test matrix's rows; finite in float32 and in bf16.
enum class Rows {
  kNormal,
  kHeavyTail,
  kPositive,
  kNegative,
  kFarFromZero,
  kZero,
  kConstant,
  kSparse,
  kTiny,      ///< below MLX's least scale
  kDenormal,  ///< of float32
  kHuge,      ///< of both signs; MLX's scale overflows
  kMixed,     ///< each group of a different magnitude
};
inline constexpr Rows kAllRows[] = {Rows::kNormal,   Rows::kHeavyTail,   Rows::kPositive,
                                    Rows::kNegative, Rows::kFarFromZero, Rows::kZero,
                                    Rows::kConstant, Rows::kSparse,      Rows::kTiny,
                                    Rows::kDenormal, Rows::kHuge,        Rows::kMixed};

inline float shaped(Rows rows, float x, size_t index) {
  switch (rows) {
    case Rows::kNormal:
      return x * 0.02F;
    case Rows::kHeavyTail:
      return x * x * x * 0.05F;
    case Rows::kPositive:
      return std::abs(x) + 0.2F;
    case Rows::kNegative:
      return -std::abs(x) - 0.2F;
    case Rows::kFarFromZero:
      return 5 + x * 0.05F;
    case Rows::kZero:
      return 0;
    case Rows::kConstant: {
      const size_t row = index / 256;
      return static_cast<float>(row) * 0.37F - 1;
    }
    case Rows::kSparse:
      return std::abs(x) < 1.5F ? 0 : x;
    case Rows::kTiny:
      return x * 1e-8F;
    case Rows::kDenormal:
      return x * 1e-40F;
    case Rows::kHuge:
      return std::clamp(x, -3.0F, 3.0F) * 1.1e38F;
    case Rows::kMixed:
      return x * std::ldexp(1.0F, static_cast<int>(index / 128 % 9) * 3 - 16);
  }
  return 0;
}

/// Weights cast to `dtype`; for f16, kHuge is scaled into its range.
inline std::vector<float> weights_of(Rows rows, int64_t count, DType dtype, uint64_t seed) {
  std::vector<float> values = normal(count, seed);
  for (size_t i = 0; i < values.size(); ++i) {
    values[i] = shaped(rows, values[i], i);
    if (dtype == DType::kF16 && rows == Rows::kHuge) values[i] *= 1e4F / 1.1e38F;
  }
  return cast(values, dtype);
}

/// The second moment of `tokens` seeded inputs: each column is a mixture of its neighbours; columns
/// differ greatly in magnitude, and one is always zero.
inline SecondMoment correlated_moment(int64_t cols, int64_t tokens, uint64_t seed,
                                      ThreadPool& pool) {
  std::vector<float> inputs = normal(tokens * cols, seed);
  for (int64_t t = 0; t < tokens; ++t) {
    float* row = inputs.data() + t * cols;
    for (int64_t i = 1; i < cols; ++i) row[i] += 0.9F * row[i - 1];
    for (int64_t i = 0; i < cols; ++i) row[i] *= std::exp(std::sin(static_cast<float>(i) * 1.7F));
    row[cols / 3] = 0;
  }
  SecondMoment moment(cols);
  moment.add(inputs.data(), tokens, pool);
  return moment;
}

}  // namespace ram
