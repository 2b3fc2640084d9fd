// Element types of tensors, their names in files, and exact conversions of the floating ones.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>

namespace ram {

/// Every dtype of the safetensors format.
enum class DType : uint8_t {
  kBool,
  kF4,
  kF6E2M3,
  kF6E3M2,
  kU8,
  kI8,
  kF8E5M2,
  kF8E4M3,
  kF8E8M0,
  kF8E4M3Fnuz,
  kF8E5M2Fnuz,
  kI16,
  kU16,
  kF16,
  kBF16,
  kI32,
  kU32,
  kF32,
  kC64,
  kF64,
  kI64,
  kU64,
};

/// @return bits per element: 4, 6, 8, 16, 32 or 64.
int dtype_bits(DType dtype);

/// @return bytes per element. @pre dtype_bits is a multiple of 8.
inline int dtype_bytes(DType dtype) {
  return dtype_bits(dtype) / 8;
}

/// @return the name in a safetensors header: "BF16" or "F8_E4M3".
std::string_view dtype_name(DType dtype);

/// @return the dtype of that header name, or nothing.
std::optional<DType> parse_dtype(std::string_view name);

/// @return true for the dtypes a weight matrix may be quantized from: kF32, kF16, kBF16.
constexpr bool is_weight_dtype(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16;
}

/// @return "bf16", "f16" or "f32": the name of an unquantized unit's format. @pre is_weight_dtype.
std::string_view weight_dtype_name(DType dtype);

/// @return the weight dtype of "bf16", "f16", "f32", or of torch's "bfloat16", "float16",
/// "float32".
std::optional<DType> parse_weight_dtype(std::string_view name);

/// Exact.
inline float bf16_to_f32(uint16_t value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value) << 16);
}

/// Rounds to nearest, ties to even; NaN stays NaN (quiet), overflow becomes infinity.
inline uint16_t f32_to_bf16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  if ((bits & 0x7fffffffU) > 0x7f800000U) return static_cast<uint16_t>((bits >> 16) | 0x0040U);
  return static_cast<uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

/// Exact, denormals included.
float f16_to_f32(uint16_t value);

/// Rounds to nearest, ties to even, denormals included; NaN stays NaN, overflow becomes infinity.
uint16_t f32_to_f16(float value);

/// Widens `count` elements of a weight dtype to float32. Exact.
/// @pre is_weight_dtype(dtype); `in` has count elements, `out` room for count floats.
void to_f32(const std::byte* in, DType dtype, int64_t count, float* out);

/// Narrows `count` floats to a weight dtype, to nearest, ties to even.
/// @pre is_weight_dtype(dtype); out has room for count elements.
void from_f32(const float* in, DType dtype, int64_t count, std::byte* out);

}  // namespace ram
