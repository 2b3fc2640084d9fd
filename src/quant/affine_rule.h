// MLX's affine rule for one group in plain C++, shared by all implementations.
// docs/formats/affine.md states it in words.
#pragma once

#include <algorithm>
#include <cmath>

namespace ram {

/// Smaller scales are replaced by this one. @source MLX, mlx/backend/cpu/quantized.cpp, `eps`
inline constexpr float kMlxLeastScale = 1e-7F;
/// The same of the published simulated quantizer. @source docs/reference-method.md
inline constexpr float kSimulatedLeastScale = 1e-12F;

/// A group's scale and bias before they are rounded to the stored dtype.
struct GroupRule {
  float scale = 0;
  float bias = 0;
};

/// The largest code as a float: the number of steps between the ends of a group.
constexpr float top_code(int bits) {
  return static_cast<float>((1 << bits) - 1);
}

/// From a group's minimum and maximum to scale and bias, so that zero has a code.
/// @source MLX, mlx/backend/cpu/quantized.cpp, `quantize`
inline GroupRule mlx_rule(float lo, float hi, int bits) {
  const bool low_edge = std::abs(lo) > std::abs(hi);
  const float step = std::max((hi - lo) / top_code(bits), kMlxLeastScale);
  const float scale = low_edge ? step : -step;
  const float edge = low_edge ? lo : hi;
  const float steps = std::rint(edge / scale);
  if (steps == 0) return {scale, 0};
  return {edge / steps, edge};
}

/// The published simulated quantizer. @source docs/reference-method.md
inline GroupRule reference_rule(float lo, float hi, int bits) {
  return {std::max((hi - lo) / top_code(bits), kSimulatedLeastScale), lo};
}

/// The code of a weight, as a float. A NaN quotient (0 / 0: a constant group of huge values, whose
/// scale becomes zero) is code 0, as in MLX's conversion.
inline float code_of(float weight, GroupRule rule, float top) {
  const float code = std::rint((weight - rule.bias) / rule.scale);
  return code > 0 ? std::min(code, top) : 0;
}

}  // namespace ram
