// The scalar reference of the affine formats: element by element, group by group, without
// optimization.
#include "affine_ref.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "ram/error.h"

#include "affine_rule.h"

namespace ram {
namespace {

/// Element `index` of a matrix, cast to `dtype`.
float load(const std::byte* weights, DType source, int64_t index, DType dtype) {
  float value = 0;
  to_f32(weights + index * dtype_bytes(source), source, 1, &value);
  if (source == dtype) return value;
  std::byte narrow[4];
  from_f32(&value, dtype, 1, narrow);
  to_f32(narrow, dtype, 1, &value);
  return value;
}

float rounded(float value, DType dtype) {
  std::byte narrow[4];
  from_f32(&value, dtype, 1, narrow);
  to_f32(narrow, dtype, 1, &value);
  return value;
}

GroupRule group_rule(const float* group, int size, int bits, Encoder encoder) {
  float lo = group[0];
  float hi = group[0];
  for (int i = 1; i < size; ++i) {
    lo = std::min(lo, group[i]);
    hi = std::max(hi, group[i]);
  }
  return encoder == Encoder::kMlx ? mlx_rule(lo, hi, bits) : reference_rule(lo, hi, bits);
}

/// Squared error of one group as decoded.
double group_error(const float* group, AffineFormat format, DType dtype, Encoder encoder) {
  const GroupRule rule = group_rule(group, format.group_size, format.bits, encoder);
  const bool stored = encoder == Encoder::kMlx;
  const double scale = stored ? rounded(rule.scale, dtype) : rule.scale;
  const double bias = stored ? rounded(rule.bias, dtype) : rule.bias;
  if (!std::isfinite(scale)) return std::numeric_limits<double>::infinity();
  double sum = 0;
  for (int i = 0; i < format.group_size; ++i) {
    const double code = code_of(group[i], rule, top_code(format.bits));
    const double error = scale * code + bias - static_cast<double>(group[i]);
    sum += error * error;
  }
  return sum;
}

}  // namespace

void affine_pack_ref(const uint8_t* codes, int64_t count, int bits, uint32_t* packed) {
  std::fill(packed, packed + count * bits / 32, 0U);
  for (int64_t i = 0; i < count; ++i) {
    for (int bit = 0; bit < bits; ++bit) {
      const int64_t position = i * bits + bit;
      packed[position / 32] |= ((uint32_t{codes[i]} >> bit) & 1U) << (position % 32);
    }
  }
}

void affine_encode_ref(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                       AffineFormat format, DType dtype, uint32_t* codes, std::byte* scales,
                       std::byte* biases) {
  const int64_t size = format.group_size;
  const int64_t words = code_words(size, format);
  std::vector<float> group(static_cast<size_t>(size));
  std::vector<uint8_t> group_codes(group.size());
  for (int64_t g = 0; g < rows * cols / size; ++g) {
    for (int64_t i = 0; i < size; ++i) {
      group[static_cast<size_t>(i)] = load(weights, source, g * size + i, dtype);
    }
    const GroupRule rule = group_rule(group.data(), format.group_size, format.bits, Encoder::kMlx);
    from_f32(&rule.scale, dtype, 1, scales + g * dtype_bytes(dtype));
    from_f32(&rule.bias, dtype, 1, biases + g * dtype_bytes(dtype));
    for (int64_t i = 0; i < size; ++i) {
      group_codes[static_cast<size_t>(i)] =
          static_cast<uint8_t>(code_of(group[static_cast<size_t>(i)], rule, top_code(format.bits)));
    }
    affine_pack_ref(group_codes.data(), size, format.bits, codes + g * words);
  }
}

void affine_decode_ref(const uint32_t* codes, const std::byte* scales, const std::byte* biases,
                       DType dtype, int64_t rows, int64_t cols, AffineFormat format, float* out) {
  for (int64_t i = 0; i < rows * cols; ++i) {
    uint32_t code = 0;
    for (int bit = 0; bit < format.bits; ++bit) {
      // Groups fill whole words, so the whole matrix is one bit string.
      const int64_t position = i * format.bits + bit;
      code |= ((codes[position / 32] >> (position % 32)) & 1U) << bit;
    }
    const int64_t group = i / format.group_size;
    const float scale = load(scales, dtype, group, dtype);
    const float bias = load(biases, dtype, group, dtype);
    out[i] = scale * static_cast<float>(code) + bias;
  }
}

Distortion distortion_truth(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                            uint32_t formats, DType dtype, Encoder encoder) {
  Distortion sums;
  // 128 is a whole number of groups of every size; the last piece may be shorter.
  std::vector<float> piece(128);
  for (int64_t first = 0; first < rows * cols; first += 128) {
    const int64_t count = std::min<int64_t>(128, rows * cols - first);
    for (int64_t i = 0; i < count; ++i) {
      const float value = load(weights, source, first + i, dtype);
      piece[static_cast<size_t>(i)] = value;
      sums.sum_squares += static_cast<double>(value) * static_cast<double>(value);
    }
    for (size_t f = 0; f < kAffineFormats.size(); ++f) {
      if ((formats >> f & 1U) == 0) continue;
      const AffineFormat format = kAffineFormats[f];
      for (int64_t i = 0; i < count; i += format.group_size) {
        sums.squared_error[f] += group_error(piece.data() + i, format, dtype, encoder);
      }
    }
  }
  return sums;
}

int64_t find_non_finite_ref(const std::byte* weights, DType source, int64_t count, DType dtype) {
  for (int64_t i = 0; i < count; ++i) {
    if (!std::isfinite(load(weights, source, i, dtype))) return i;
  }
  return -1;
}

}  // namespace ram
