// StorageFormat formats of sources. Each case states which bytes a run of elements needs; a new
// format needs nothing else here.
#include "elements.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "ram/error.h"

namespace ram {
namespace {

constexpr int64_t kPieceElements = int64_t{1} << 20;

std::array<float, 256> e4m3_table() {
  std::array<float, 256> table = {};
  for (unsigned code = 0; code < table.size(); ++code) {
    const unsigned exponent = code >> 3 & 15U;
    const unsigned mantissa = code & 7U;
    float value = exponent == 0 ? std::ldexp(static_cast<float>(mantissa), -9)
                                : std::ldexp(static_cast<float>(8 + mantissa),
                                             static_cast<int>(exponent) - 10);
    if (exponent == 15 && mantissa == 7) value = std::numeric_limits<float>::quiet_NaN();
    table[code] = (code & 128U) != 0 ? -value : value;
  }
  return table;
}

const std::array<float, 256>& e4m3_values() {
  static const std::array<float, 256> kTable = e4m3_table();
  return kTable;
}

// @source OCP Microscaling Formats (MX), version 1.0, table 5: E2M1
constexpr std::array<float, 16> kE2m1 = {0,    0.5F,  1,  1.5F,  2,  3,  4,  6,
                                         -0.F, -0.5F, -1, -1.5F, -2, -3, -4, -6};

/// 2^(code - 127); 255 is NaN. @source the same, section 5.4.1: E8M0
float e8m0_to_f32(uint8_t code) {
  return code == 255 ? std::numeric_limits<float>::quiet_NaN()
                     : std::ldexp(1.0F, static_cast<int>(code) - 127);
}

void put_bf16(float value, int64_t at, std::byte* out) {
  const uint16_t bits = f32_to_bf16(value);
  std::memcpy(out + 2 * at, &bits, 2);
}

}  // namespace

float e4m3_to_f32(uint8_t code) {
  return e4m3_values()[code];
}

const TensorInfo& ElementReader::info(int tensor) const {
  return checkpoint_.tensors.at(static_cast<size_t>(tensor)).info;
}

std::span<std::byte> ElementReader::room(std::vector<std::byte>& bytes, int64_t size) const {
  bytes.resize(std::max(bytes.size(), static_cast<size_t>(size)));
  return std::span(bytes).first(static_cast<size_t>(size));
}

/// Calls fn(tensor, begin in it, count) for the tensors that the run covers.
template <class Fn>
void ElementReader::in_each_tensor(int64_t begin, int64_t count, Fn fn) const {
  const auto visit = [&](int tensor) {
    const int64_t elements = info(tensor).elements();
    const int64_t here = std::min(count, elements - begin);
    if (here > 0) {
      fn(tensor, begin, here);
      count -= here;
      begin = elements;
    }
    begin -= elements;
  };
  visit(part_.tensor);
  for (const int tensor : part_.below) visit(tensor);
  RAM_CHECK(count == 0);
}

void ElementReader::read(int64_t begin, int64_t count, std::byte* out) {
  switch (part_.storage) {
    case StorageFormat::kPlain: {
      const int64_t width = dtype_bytes(unit_.dtype);
      in_each_tensor(begin, count, [&](int tensor, int64_t first, int64_t here) {
        checkpoint_.read_tensor(tensor, first * width, {out, static_cast<size_t>(here * width)});
        out += here * width;
      });
      return;
    }
    case StorageFormat::kFp8Blocks:
    case StorageFormat::kMxfp4:
      RAM_CHECK(unit_.dtype == DType::kBF16 && part_.below.empty());
      for (int64_t done = 0; done < count; done += kPieceElements) {
        const int64_t piece = std::min(kPieceElements, count - done);
        if (part_.storage == StorageFormat::kFp8Blocks) {
          read_fp8(begin + done, piece, out + 2 * done);
        } else {
          read_mxfp4(begin + done, piece, out + 2 * done);
        }
      }
      return;
  }
  RAM_CHECK(false);
}

// The product is computed in float32 and then rounded to bf16, as in mlx_lm and transformers.
// @source mlx_lm 0.32.2, models/deepseek_v3.py, `dequant`
void ElementReader::read_fp8(int64_t begin, int64_t count, std::byte* out) {
  const std::vector<int64_t>& shape = info(part_.tensor).shape;
  const TensorInfo& scales = info(part_.scales);
  const int64_t cols = shape.back();
  const int64_t across = scales.shape.back();
  const int64_t first_block = begin / cols / kFp8Block;
  const int64_t blocks = (begin + count - 1) / cols / kFp8Block - first_block + 1;
  const std::span<std::byte> codes = room(codes_, count);
  checkpoint_.read_tensor(part_.tensor, begin, codes);
  const int64_t width = dtype_bytes(scales.dtype);
  const std::span<std::byte> stored = room(stored_scales_, blocks * across * width);
  checkpoint_.read_tensor(part_.scales, first_block * across * width, stored);
  scales_.resize(static_cast<size_t>(blocks * across));
  to_f32(stored.data(), scales.dtype, blocks * across, scales_.data());
  const std::array<float, 256>& values = e4m3_values();
  for (int64_t at = 0; at < count;) {
    const int64_t row = (begin + at) / cols;
    const int64_t col = (begin + at) % cols;
    const int64_t end = std::min({count, at + cols - col, at + kFp8Block - col % kFp8Block});
    const float scale =
        scales_[static_cast<size_t>((row / kFp8Block - first_block) * across + col / kFp8Block)];
    for (; at < end; ++at) {
      put_bf16(values[std::to_integer<uint8_t>(codes[static_cast<size_t>(at)])] * scale, at, out);
    }
  }
}

// A block of 32 elements is 16 bytes, the even element of a byte in its low half; one scale each.
void ElementReader::read_mxfp4(int64_t begin, int64_t count, std::byte* out) {
  const int64_t first_block = begin / kMxfp4Block;
  const int64_t blocks = (begin + count - 1) / kMxfp4Block - first_block + 1;
  const std::span<std::byte> codes = room(codes_, blocks * kMxfp4Block / 2);
  checkpoint_.read_tensor(part_.tensor, first_block * kMxfp4Block / 2, codes);
  const std::span<std::byte> stored = room(stored_scales_, blocks);
  checkpoint_.read_tensor(part_.scales, first_block, stored);
  for (int64_t at = 0; at < count; ++at) {
    const int64_t element = begin + at - first_block * kMxfp4Block;
    const auto byte = std::to_integer<unsigned>(codes[static_cast<size_t>(element / 2)]);
    const unsigned code = element % 2 == 0 ? byte & 15U : byte >> 4;
    const auto scale = std::to_integer<uint8_t>(stored[static_cast<size_t>(element / kMxfp4Block)]);
    put_bf16(kE2m1[code] * e8m0_to_f32(scale), at, out);
  }
}

void ElementReader::prefetch(int64_t begin, int64_t count) const {
  if (count <= 0) return;
  const auto bytes = [&](int tensor, int64_t first, int64_t size) {
    const SourceTensor& source = checkpoint_.tensors.at(static_cast<size_t>(tensor));
    checkpoint_.files.at(static_cast<size_t>(source.file))
        .prefetch(source.info.begin + first, size);
  };
  switch (part_.storage) {
    case StorageFormat::kPlain: {
      const int64_t width = dtype_bytes(unit_.dtype);
      return in_each_tensor(begin, count, [&](int tensor, int64_t first, int64_t here) {
        bytes(tensor, first * width, here * width);
      });
    }
    case StorageFormat::kFp8Blocks:
      return bytes(part_.tensor, begin, count);  // the scales are a few pages
    case StorageFormat::kMxfp4:
      return bytes(part_.tensor, begin / 2, count / 2 + 1);
  }
}

}  // namespace ram
