// The table of dtypes and the exact conversions between float32 and the 16-bit floats.
#include "ram/dtype.h"

#include <array>
#include <cstring>

#include "ram/error.h"

namespace ram {
namespace {

struct DTypeRow {
  DType dtype;
  std::string_view name;
  int bits;
};

// @source https://github.com/huggingface/safetensors, safetensors/src/tensor.rs, `enum Dtype`
constexpr std::array<DTypeRow, 22> kTable = {{
    {DType::kBool, "BOOL", 8},
    {DType::kF4, "F4", 4},
    {DType::kF6E2M3, "F6_E2M3", 6},
    {DType::kF6E3M2, "F6_E3M2", 6},
    {DType::kU8, "U8", 8},
    {DType::kI8, "I8", 8},
    {DType::kF8E5M2, "F8_E5M2", 8},
    {DType::kF8E4M3, "F8_E4M3", 8},
    {DType::kF8E8M0, "F8_E8M0", 8},
    {DType::kF8E4M3Fnuz, "F8_E4M3FNUZ", 8},
    {DType::kF8E5M2Fnuz, "F8_E5M2FNUZ", 8},
    {DType::kI16, "I16", 16},
    {DType::kU16, "U16", 16},
    {DType::kF16, "F16", 16},
    {DType::kBF16, "BF16", 16},
    {DType::kI32, "I32", 32},
    {DType::kU32, "U32", 32},
    {DType::kF32, "F32", 32},
    {DType::kC64, "C64", 64},
    {DType::kF64, "F64", 64},
    {DType::kI64, "I64", 64},
    {DType::kU64, "U64", 64},
}};

const DTypeRow& row_of(DType dtype) {
  const DTypeRow& row = kTable.at(static_cast<size_t>(dtype));
  RAM_CHECK(row.dtype == dtype);
  return row;
}

}  // namespace

int dtype_bits(DType dtype) {
  return row_of(dtype).bits;
}

std::string_view dtype_name(DType dtype) {
  return row_of(dtype).name;
}

std::optional<DType> parse_dtype(std::string_view name) {
  for (const DTypeRow& row : kTable) {
    if (row.name == name) return row.dtype;
  }
  return std::nullopt;
}

std::string_view weight_dtype_name(DType dtype) {
  RAM_CHECK(is_weight_dtype(dtype));
  if (dtype == DType::kBF16) return "bf16";
  return dtype == DType::kF16 ? "f16" : "f32";
}

std::optional<DType> parse_weight_dtype(std::string_view name) {
  if (name.starts_with("torch.")) name.remove_prefix(6);
  if (name == "bf16" || name == "bfloat16") return DType::kBF16;
  if (name == "f16" || name == "float16") return DType::kF16;
  if (name == "f32" || name == "float32") return DType::kF32;
  return std::nullopt;
}

float f16_to_f32(uint16_t value) {
  const uint32_t sign = static_cast<uint32_t>(value & 0x8000U) << 16;
  const uint32_t exponent = (value >> 10) & 0x1fU;
  const uint32_t mantissa = value & 0x3ffU;
  if (exponent == 0x1fU) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0) {
    return std::bit_cast<float>(sign | ((exponent + 112U) << 23) | (mantissa << 13));
  }
  // Denormal: mantissa * 2^-24, exact in float32.
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return std::bit_cast<float>(std::bit_cast<uint32_t>(magnitude) | sign);
}

uint16_t f32_to_f16(float value) {
  const auto bits = std::bit_cast<uint32_t>(value);
  const auto sign = static_cast<uint16_t>((bits >> 16) & 0x8000U);
  const uint32_t magnitude = bits & 0x7fffffffU;
  if (magnitude > 0x7f800000U) {
    return static_cast<uint16_t>(sign | 0x7e00U | ((magnitude >> 13) & 0x3ffU));
  }
  if (magnitude >= 0x477ff000U) return static_cast<uint16_t>(sign | 0x7c00U);  // >= 65520: infinity
  if (magnitude < 0x38800000U) {  // below 2^-14: denormal or zero
    // Adding 0.5 puts the denormal's unit at the last bit of the float, which rounds it to even.
    const float shifted = std::bit_cast<float>(magnitude) + 0.5F;
    return static_cast<uint16_t>(sign | (std::bit_cast<uint32_t>(shifted) - 0x3f000000U));
  }
  const uint32_t rounded = magnitude + 0xfffU + ((magnitude >> 13) & 1U);
  return static_cast<uint16_t>(sign | ((rounded - 0x38000000U) >> 13));
}

void to_f32(const std::byte* in, DType dtype, int64_t count, float* out) {
  RAM_CHECK(is_weight_dtype(dtype));
  if (dtype == DType::kF32) {
    if (count > 0) std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    uint16_t half = 0;
    std::memcpy(&half, in + 2 * i, sizeof(half));
    out[i] = dtype == DType::kBF16 ? bf16_to_f32(half) : f16_to_f32(half);
  }
}

void from_f32(const float* in, DType dtype, int64_t count, std::byte* out) {
  RAM_CHECK(is_weight_dtype(dtype));
  if (dtype == DType::kF32) {
    if (count > 0) std::memcpy(out, in, static_cast<size_t>(count) * sizeof(float));
    return;
  }
  for (int64_t i = 0; i < count; ++i) {
    const uint16_t half = dtype == DType::kBF16 ? f32_to_bf16(in[i]) : f32_to_f16(in[i]);
    std::memcpy(out + 2 * i, &half, sizeof(half));
  }
}

}  // namespace ram
