// A group's codes times x are summed as they are; scale and bias are applied once a group:
// sum (scale q + bias) x = scale sum q x + bias sum x.
//
// Sixteen codes of b bits are 2 b bytes. Each is found in a window of two bytes that a byte shuffle
// puts into its lane, and shifted to the bottom: the same few instructions for every width.
#include "matvec.h"

#include <array>
#include <cstring>
#include <vector>

#if defined(__aarch64__)  // NEON only: one vector length, known when compiled
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "matvec.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ram/error.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

void StoredMatvec(const StoredMatrix& matrix, const float* x, const float* /*sums*/, int64_t first,
                  int64_t count, float* y) {
  std::vector<float> row(static_cast<size_t>(matrix.cols));
  const int64_t element = dtype_bits(matrix.dtype) / 8;
  for (int64_t i = first; i < first + count; ++i) {
    if (matrix.format) {
      const int64_t scales = i * (matrix.cols / matrix.format->group_size) * element;
      const std::byte* codes = matrix.weights + i * matrix.cols * matrix.format->bits / 8;
      affine_decode(reinterpret_cast<const uint32_t*>(codes), matrix.scales + scales,
                    matrix.biases + scales, matrix.dtype, 1, matrix.cols, *matrix.format,
                    row.data());
    } else {
      to_f32(matrix.weights + i * matrix.cols * element, matrix.dtype, matrix.cols, row.data());
    }
    float sum = 0;
    for (int64_t j = 0; j < matrix.cols; ++j) sum += row[static_cast<size_t>(j)] * x[j];
    y[i - first] = sum;
  }
}

#else

using F = hn::CappedTag<float, 16>;
using U32 = hn::RebindToUnsigned<F>;
using U8 = hn::Repartition<uint8_t, F>;
using VF = hn::Vec<F>;
constexpr int64_t kCodes = 16;
constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(F()));

/// `kWidth` elements of a dense matrix as float32.
template <DType kSource>
HWY_INLINE VF load_dense(const std::byte* in) {
  const F f;
  const hn::Rebind<uint16_t, F> u16;
  const auto* bytes = reinterpret_cast<const uint8_t*>(in);
  if constexpr (kSource == DType::kF32) {
    return hn::BitCast(f, hn::LoadU(U8(), bytes));
  } else {
    const auto half = hn::BitCast(u16, hn::LoadU(hn::Repartition<uint8_t, decltype(u16)>(), bytes));
    if constexpr (kSource == DType::kBF16) {
      return hn::BitCast(f, hn::ShiftLeft<16>(hn::PromoteTo(U32(), half)));
    } else {
      return hn::PromoteTo(f, hn::BitCast(hn::Rebind<hwy::float16_t, F>(), half));
    }
  }
}

template <DType kSource>
HWY_INLINE float dense_row(const std::byte* HWY_RESTRICT row, const float* HWY_RESTRICT x,
                           int64_t cols) {
  const F f;
  constexpr int64_t kElement = kSource == DType::kF32 ? 4 : 2;
  VF a = hn::Zero(f);
  VF b = hn::Zero(f);
  VF c = hn::Zero(f);
  VF d = hn::Zero(f);
  int64_t j = 0;
  for (; j + 4 * kWidth <= cols; j += 4 * kWidth) {
    const std::byte* at = row + j * kElement;
    a = hn::MulAdd(load_dense<kSource>(at), hn::LoadU(f, x + j), a);
    b = hn::MulAdd(load_dense<kSource>(at + kWidth * kElement), hn::LoadU(f, x + j + kWidth), b);
    c = hn::MulAdd(load_dense<kSource>(at + 2 * kWidth * kElement),
                   hn::LoadU(f, x + j + 2 * kWidth), c);
    d = hn::MulAdd(load_dense<kSource>(at + 3 * kWidth * kElement),
                   hn::LoadU(f, x + j + 3 * kWidth), d);
  }
  for (; j + kWidth <= cols; j += kWidth) {
    a = hn::MulAdd(load_dense<kSource>(row + j * kElement), hn::LoadU(f, x + j), a);
  }
  float sum = hn::GetLane(hn::SumOfLanes(f, hn::Add(hn::Add(a, b), hn::Add(c, d))));
  for (; j < cols; ++j) {
    float weight = 0;
    to_f32(row + j * kElement, kSource, 1, &weight);
    sum += weight * x[j];
  }
  return sum;
}

/// Where each of sixteen codes is found in 2 * bits bytes.
template <int kBits>
struct CodeWindows {
  alignas(64) std::array<uint8_t, 64> bytes{};  // per lane of 32 bits: two byte numbers, two none
  alignas(64) std::array<uint32_t, 16> shifts{};
  constexpr CodeWindows() {
    for (size_t i = 0; i < 16; ++i) {
      const size_t first = i * kBits / 8;
      bytes[4 * i] = static_cast<uint8_t>(first);
      // A code that ends within its first byte needs no second; there is none after the last.
      bytes[4 * i + 1] = first + 1 < 2 * kBits ? static_cast<uint8_t>(first + 1) : 0x80;
      bytes[4 * i + 2] = 0x80;
      bytes[4 * i + 3] = 0x80;
      shifts[i] = static_cast<uint32_t>(i * kBits % 8);
    }
  }
};

template <int kBits>
struct Unpacker {
  static constexpr CodeWindows<kBits> kWindows{};

  /// Codes [kPart * kWidth, ...) of the sixteen whose bytes `loaded` holds in every 128 bits.
  template <int kPart>
  static HWY_INLINE VF codes(hn::Vec<U8> loaded) {
    const U32 u32;
    constexpr size_t kFirst = static_cast<size_t>(kPart * kWidth);
    const auto where = hn::Load(U8(), kWindows.bytes.data() + 4 * kFirst);
    const auto window = hn::BitCast(u32, hn::TableLookupBytesOr0(loaded, where));
    const auto shifted = hn::Shr(window, hn::Load(u32, kWindows.shifts.data() + kFirst));
    const auto code = hn::And(shifted, hn::Set(u32, (1U << kBits) - 1));
    return hn::ConvertTo(F(), hn::BitCast(hn::RebindToSigned<F>(), code));
  }
};

/// Sum of q x over sixteen codes, by lanes.
template <int kBits, int kPart = 0>
HWY_INLINE VF add_codes(hn::Vec<U8> loaded, const float* HWY_RESTRICT x, VF sum) {
  sum = hn::MulAdd(Unpacker<kBits>::template codes<kPart>(loaded),
                   hn::LoadU(F(), x + kPart * kWidth), sum);
  if constexpr ((kPart + 1) * kWidth < kCodes) return add_codes<kBits, kPart + 1>(loaded, x, sum);
  return sum;
}

HWY_INLINE float stored_float(const std::byte* in, DType dtype, int64_t index) {
  float value = 0;
  if (dtype == DType::kF32) {
    std::memcpy(&value, in + 4 * index, 4);
    return value;
  }
  uint16_t half = 0;
  std::memcpy(&half, in + 2 * index, 2);
  return dtype == DType::kBF16 ? bf16_to_f32(half) : f16_to_f32(half);
}

template <int kBits>
float encoded_row(const StoredMatrix& matrix, int64_t row, const float* HWY_RESTRICT x,
                  const float* HWY_RESTRICT sums, float* HWY_RESTRICT scales) {
  const F f;
  const int64_t group = matrix.format->group_size;
  const int64_t groups = matrix.cols / group;
  const int64_t element = matrix.dtype == DType::kF32 ? 4 : 2;
  const auto* codes =
      reinterpret_cast<const uint8_t*>(matrix.weights) + row * matrix.cols * kBits / 8;
  const std::byte* biases = matrix.biases + row * groups * element;
  // Widened at once: one by one they would cost as much as the codes.
  to_f32(matrix.scales + row * groups * element, matrix.dtype, groups, scales);
  VF total = hn::Zero(f);
  for (int64_t g = 0; g < groups; ++g) {
    VF even = hn::Zero(f);
    VF odd = hn::Zero(f);
    for (int64_t j = 0; j < group; j += 2 * kCodes) {
      even = add_codes<kBits>(hn::LoadDup128(U8(), codes), x, even);
      odd = add_codes<kBits>(hn::LoadDup128(U8(), codes + 2 * kBits), x + kCodes, odd);
      codes += 4 * kBits;
      x += 2 * kCodes;
    }
    total = hn::MulAdd(hn::Set(f, scales[g]), hn::Add(even, odd), total);
  }
  float sum = hn::GetLane(hn::SumOfLanes(f, total));
  for (int64_t g = 0; g < groups; ++g) sum += stored_float(biases, matrix.dtype, g) * sums[g];
  return sum;
}

template <int kBits>
void encoded_rows(const StoredMatrix& matrix, const float* x, const float* sums, int64_t first,
                  int64_t count, float* y) {
  std::vector<float> scales(static_cast<size_t>(matrix.cols / matrix.format->group_size));
  for (int64_t i = 0; i < count; ++i) {
    y[i] = encoded_row<kBits>(matrix, first + i, x, sums, scales.data());
  }
}

void StoredMatvec(const StoredMatrix& matrix, const float* x, const float* sums, int64_t first,
                  int64_t count, float* y) {
  if (matrix.format) {
    switch (matrix.format->bits) {
      case 2:
        return encoded_rows<2>(matrix, x, sums, first, count, y);
      case 3:
        return encoded_rows<3>(matrix, x, sums, first, count, y);
      case 4:
        return encoded_rows<4>(matrix, x, sums, first, count, y);
      case 5:
        return encoded_rows<5>(matrix, x, sums, first, count, y);
      case 6:
        return encoded_rows<6>(matrix, x, sums, first, count, y);
      default:
        return encoded_rows<8>(matrix, x, sums, first, count, y);
    }
  }
  const int64_t row_bytes = matrix.cols * dtype_bits(matrix.dtype) / 8;
  for (int64_t i = 0; i < count; ++i) {
    const std::byte* row = matrix.weights + (first + i) * row_bytes;
    switch (matrix.dtype) {
      case DType::kBF16:
        y[i] = dense_row<DType::kBF16>(row, x, matrix.cols);
        break;
      case DType::kF16:
        y[i] = dense_row<DType::kF16>(row, x, matrix.cols);
        break;
      default:
        y[i] = dense_row<DType::kF32>(row, x, matrix.cols);
    }
  }
}

#endif  // HWY_TARGET

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(StoredMatvec);

void group_sums(const float* x, int64_t cols, int64_t group_size, float* sums) {
  for (int64_t g = 0; g < cols / group_size; ++g) {
    float sum = 0;
    for (int64_t j = 0; j < group_size; ++j) sum += x[g * group_size + j];
    sums[g] = sum;
  }
}

void stored_matvec(const StoredMatrix& matrix, const float* x, const float* sums, int64_t first,
                   int64_t count, float* y) {
  HWY_DYNAMIC_DISPATCH(StoredMatvec)(matrix, x, sums, first, count, y);
}

}  // namespace ram
#endif  // HWY_ONCE
