// A group's codes times x are summed undecoded; scale and bias are applied once per group:
// sum (scale q + bias) x = scale sum q x + bias sum x.
//
// A code is not shifted to the bottom of its lane: it is masked in place, which makes it an integer
// q 2^p, and x was divided by 2^p beforehand. So a weight costs a mask, a conversion and a
// multiplication at any width. To do this, x is rearranged once into lane order, and all rows reuse
// it.
#include "cpu/matvec.h"

#include <algorithm>
#include <array>
#include <type_traits>
#include <vector>

#include "ram/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/matvec.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "ram/size.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

#if HWY_TARGET == HWY_SCALAR || HWY_TARGET == HWY_EMU128

void arrange_vector(const AffineFormat& /*format*/, int64_t cols, const float* x, float* out) {
  std::copy(x, x + cols, out);
}

void matvec_vector(const StoredMatrix& matrix, const float* x, int64_t first, int64_t count,
                   float* y) {
  std::vector<float> row(static_cast<size_t>(matrix.cols));
  const int64_t element = dtype_bytes(matrix.dtype);
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

namespace hn = hwy::HWY_NAMESPACE;
using F = hn::CappedTag<float, 16>;
using U32 = hn::RebindToUnsigned<F>;
using U8 = hn::Repartition<uint8_t, F>;
using VF = hn::Vec<F>;
using VU = hn::Vec<U32>;
constexpr int64_t kWidth = static_cast<int64_t>(hn::MaxLanes(F()));
// Prefetch distance in bytes: a core that unpacks codes does not reach as far ahead by itself, and
// the hardware prefetcher stops at a page boundary. Measured with AVX2 and AVX-512
// (docs/performance.md).
#if HWY_TARGET == HWY_AVX2
constexpr int64_t kAhead = 1024;
#else
constexpr int64_t kAhead = 4096;
#endif

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
    for (int64_t byte = 0; byte < 4 * kWidth * kElement; byte += 64)
      hwy::Prefetch(at + kAhead + byte);
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

/// Position of codes in a vector's lanes of 32 bits, `kCodes` consecutive ones in each. Codes whose
/// width divides 32 fill the words they are stored in; for the other widths a lane gets the three
/// bytes that hold its codes, and 128 bits take `kChunk` bytes.
template <int kBits>
struct Lanes {
  static constexpr bool kWords = 32 % kBits == 0;
  static constexpr int kCodes = kBits == 2 ? 16 : (kBits <= 4 ? 8 : 4);
  static constexpr int kChunk = 4 * kCodes * kBits / 8;
  static constexpr int64_t kBlock = kCodes * kWidth;  // codes of a vector
  static constexpr int64_t kBlockBytes = kBlock * kBits / 8;

  /// The lowest bit of code k of a lane.
  static constexpr int position(int lane, int k) {
    return kWords ? k * kBits : lane * kCodes * kBits % 8 + k * kBits;
  }
  /// A code at the top of a lane is shifted down; others are used in place.
  static constexpr bool at_top(int k) { return position(0, k) + kBits == 32; }

  alignas(64) std::array<uint8_t, 64> bytes{};
  alignas(64) std::array<std::array<uint32_t, 16>, kCodes> masks{};

  constexpr Lanes() {
    for (int i = 0; i < 64; ++i) {
      const int byte = i / 4 % 4 * kCodes * kBits / 8 + i % 4;
      bytes[static_cast<size_t>(i)] = static_cast<uint8_t>(i % 4 < 3 ? byte : 0x80);
    }
    for (int k = 0; k < kCodes; ++k) {
      for (int lane = 0; lane < 16; ++lane) {
        masks[static_cast<size_t>(k)][static_cast<size_t>(lane)] = ((1U << kBits) - 1)
                                                                   << position(lane, k);
      }
    }
  }
};

template <int kBits>
constexpr Lanes<kBits> kLanes{};

/// Chunks of 16 bytes that begin `kStep` bytes apart, one after the other.
template <int kStep, class D>
HWY_INLINE hn::Vec<D> load_chunks(D d, const uint8_t* HWY_RESTRICT in) {
  if constexpr (hn::MaxLanes(D()) == 16) {
    return hn::LoadU(d, in);
  } else if constexpr (hn::MaxLanes(D()) == 64 && kStep == 12) {
    HWY_ALIGN constexpr int32_t kWords[16] = {0, 1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 9, 9, 10, 11, 12};
    const auto words = hn::BitCast(U32(), hn::LoadU(d, in));
    return hn::BitCast(d, hn::TableLookupLanes(words, hn::SetTableIndices(U32(), kWords)));
  } else {
    const hn::Half<D> half;
    constexpr size_t kChunks = hn::MaxLanes(D()) / 32;
    return hn::Combine(d, load_chunks<kStep>(half, in + kChunks * kStep),
                       load_chunks<kStep>(half, in));
  }
}

template <int kBits>
HWY_INLINE VU load_codes(const uint8_t* HWY_RESTRICT in) {
  using L = Lanes<kBits>;
  if constexpr (L::kWords) {
    return hn::BitCast(U32(), hn::LoadU(U8(), in));
  } else {
    const auto where = hn::Load(U8(), kLanes<kBits>.bytes.data());
    return hn::BitCast(U32(), hn::TableLookupBytesOr0(load_chunks<L::kChunk>(U8(), in), where));
  }
}

/// Sums of q x by lanes, over codes kFirst, kFirst + 2, ... of each lane.
template <int kBits, int kFirst>
HWY_INLINE VF add_codes(VU codes, const float* HWY_RESTRICT x, VF sum) {
  using L = Lanes<kBits>;
  if constexpr (kFirst >= L::kCodes) {
    return sum;
  } else {
    VU code;
    if constexpr (L::at_top(kFirst)) {
      code = hn::ShiftRight<32 - kBits>(codes);
    } else {
      code = hn::And(codes, hn::Load(U32(), kLanes<kBits>.masks[kFirst].data()));
    }
    const VF value = hn::ConvertTo(F(), hn::BitCast(hn::RebindToSigned<F>(), code));
    sum = hn::MulAdd(value, hn::LoadU(F(), x + kFirst * kWidth), sum);
    return add_codes<kBits, kFirst + 2>(codes, x, sum);
  }
}

/// Sum of q x by lanes over one vector of codes.
template <int kBits>
HWY_INLINE VF block_sum(const uint8_t* HWY_RESTRICT in, const float* HWY_RESTRICT x) {
  const VU codes = load_codes<kBits>(in);
  const VF even = add_codes<kBits, 0>(codes, x, hn::Zero(F()));
  const VF odd = add_codes<kBits, 1>(codes, x, hn::Zero(F()));
  return hn::Add(even, odd);
}

/// Scales of a row as float32, and sum of bias times group sum, by lanes.
template <DType kSource>
HWY_INLINE VF widen_groups(const std::byte* HWY_RESTRICT scales,
                           const std::byte* HWY_RESTRICT biases, const float* HWY_RESTRICT sums,
                           int64_t groups, float* HWY_RESTRICT out) {
  const F f;
  constexpr int64_t kElement = kSource == DType::kF32 ? 4 : 2;
  VF total = hn::Zero(f);
  int64_t g = 0;
  for (; g + kWidth <= groups; g += kWidth) {
    hn::StoreU(load_dense<kSource>(scales + g * kElement), f, out + g);
    total = hn::MulAdd(load_dense<kSource>(biases + g * kElement), hn::LoadU(f, sums + g), total);
  }
  if (g < groups) {
    HWY_ALIGN float rest[kWidth] = {};
    to_f32(scales + g * kElement, kSource, groups - g, out + g);
    to_f32(biases + g * kElement, kSource, groups - g, rest);
    for (int64_t i = 0; i < groups - g; ++i) rest[i] *= sums[g + i];
    total = hn::Add(total, hn::Load(f, rest));
  }
  return total;
}

HWY_INLINE VF widen_groups(DType dtype, const std::byte* HWY_RESTRICT scales,
                           const std::byte* HWY_RESTRICT biases, const float* HWY_RESTRICT sums,
                           int64_t groups, float* HWY_RESTRICT out) {
  switch (dtype) {
    case DType::kBF16:
      return widen_groups<DType::kBF16>(scales, biases, sums, groups, out);
    case DType::kF16:
      return widen_groups<DType::kF16>(scales, biases, sums, groups, out);
    default:
      return widen_groups<DType::kF32>(scales, biases, sums, groups, out);
  }
}

/// Sum of scale q x by lanes over a row whose groups have fewer than kWidth lanes.
/// @param spread to which of the vector's groups each lane belongs.
template <int kBits, class Indices>
HWY_INLINE VF sum_narrow_groups(const uint8_t* HWY_RESTRICT codes, const float* HWY_RESTRICT x,
                                const float* HWY_RESTRICT scales, int64_t blocks, int64_t groups,
                                Indices spread) {
  using L = Lanes<kBits>;
  VF total = hn::Zero(F());
  for (int64_t b = 0; b < blocks; ++b) {
    hwy::Prefetch(codes + kAhead);
    const VF factors = hn::TableLookupLanes(hn::LoadU(F(), scales), spread);
    total = hn::MulAdd(factors, block_sum<kBits>(codes, x), total);
    codes += L::kBlockBytes;
    x += L::kBlock;
    scales += groups;
  }
  return total;
}

/// The same where a group fills `parts` vectors.
template <int kBits>
HWY_INLINE VF sum_wide_groups(const uint8_t* HWY_RESTRICT codes, const float* HWY_RESTRICT x,
                              const float* HWY_RESTRICT scales, int64_t groups, int64_t parts) {
  using L = Lanes<kBits>;
  VF total = hn::Zero(F());
  for (int64_t g = 0; g < groups; ++g) {
    hwy::Prefetch(codes + kAhead);
    VF sum = block_sum<kBits>(codes, x);
    for (int64_t part = 1; part < parts; ++part) {
      hwy::Prefetch(codes + L::kBlockBytes + kAhead);
      codes += L::kBlockBytes;
      x += L::kBlock;
      sum = hn::Add(sum, block_sum<kBits>(codes, x));
    }
    total = hn::MulAdd(hn::Set(F(), scales[g]), sum, total);
    codes += L::kBlockBytes;
    x += L::kBlock;
  }
  return total;
}

template <int kBits>
void encoded_rows(const StoredMatrix& matrix, const float* HWY_RESTRICT x, int64_t first,
                  int64_t count, float* HWY_RESTRICT y) {
  using L = Lanes<kBits>;
  const F f;
  const int64_t group = matrix.format->group_size;
  const int64_t groups = matrix.cols / group;
  const int64_t blocks = ceil_div(matrix.cols, L::kBlock);
  const int64_t lanes = group / L::kCodes;  // of a group
  const int64_t code_bytes = matrix.cols * kBits / 8;
  const int64_t scale_bytes = groups * (matrix.dtype == DType::kF32 ? 4 : 2);
  const float* sums = x + blocks * L::kBlock;
  // Zero for the groups of the last block that lie past the row.
  std::vector<float> scales(static_cast<size_t>(blocks * L::kBlock / group + kWidth));
  HWY_ALIGN int32_t which[kWidth];
  for (int64_t i = 0; i < kWidth; ++i) which[i] = static_cast<int32_t>(i / lanes);
  const auto spread = hn::SetTableIndices(f, which);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = first + i;
    const VF biases = widen_groups(matrix.dtype, matrix.scales + row * scale_bytes,
                                   matrix.biases + row * scale_bytes, sums, groups, scales.data());
    const auto* codes = reinterpret_cast<const uint8_t*>(matrix.weights) + row * code_bytes;
    const VF products =
        lanes < kWidth
            ? sum_narrow_groups<kBits>(codes, x, scales.data(), blocks, kWidth / lanes, spread)
            : sum_wide_groups<kBits>(codes, x, scales.data(), groups, lanes / kWidth);
    y[i] = hn::GetLane(hn::SumOfLanes(f, hn::Add(products, biases)));
  }
}

/// x in lane order, divided by the factors of its codes.
/// @return the end of the output.
template <int kBits>
float* arrange(const float* HWY_RESTRICT x, int64_t cols, float* HWY_RESTRICT out) {
  using L = Lanes<kBits>;
  for (int64_t base = 0; base < cols; base += L::kBlock) {
    for (int k = 0; k < L::kCodes; ++k) {
      for (int64_t lane = 0; lane < kWidth; ++lane) {
        const int position = L::at_top(k) ? 0 : L::position(static_cast<int>(lane), k);
        const float factor = 1.0F / static_cast<float>(1U << position);
        const int64_t at = base + lane * L::kCodes + k;
        *out++ = at < cols ? x[at] * factor : 0;
      }
    }
  }
  return out;
}

/// Calls use(width of the codes as a type).
template <typename Use>
HWY_INLINE void with_bits(const AffineFormat& format, const Use& use) {
  switch (format.bits) {
    case 2:
      return use(std::integral_constant<int, 2>());
    case 3:
      return use(std::integral_constant<int, 3>());
    case 4:
      return use(std::integral_constant<int, 4>());
    case 5:
      return use(std::integral_constant<int, 5>());
    case 6:
      return use(std::integral_constant<int, 6>());
    default:
      return use(std::integral_constant<int, 8>());
  }
}

void arrange_vector(const AffineFormat& format, int64_t cols, const float* x, float* out) {
  with_bits(format, [&](auto bits) HWY_ATTR {
    float* sums = arrange<bits()>(x, cols, out);
    for (int64_t g = 0; g < cols / format.group_size; ++g) {
      float sum = 0;
      for (int64_t j = 0; j < format.group_size; ++j) sum += x[g * format.group_size + j];
      sums[g] = sum;
    }
  });
}

void matvec_vector(const StoredMatrix& matrix, const float* x, int64_t first, int64_t count,
                   float* y) {
  if (matrix.format) {
    return with_bits(*matrix.format,
                     [&](auto bits) HWY_ATTR { encoded_rows<bits()>(matrix, x, first, count, y); });
  }
  const int64_t row_bytes = matrix.cols * dtype_bytes(matrix.dtype);
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

HWY_EXPORT(matvec_vector);
HWY_EXPORT(arrange_vector);

int64_t arranged_floats(const AffineFormat& format, int64_t cols) {
  constexpr int64_t kLargestBlock = 256;
  return (cols / kLargestBlock + 1) * kLargestBlock + cols / format.group_size;
}

void arrange_input(const AffineFormat& format, int64_t cols, const float* x, float* out) {
  HWY_DYNAMIC_DISPATCH(arrange_vector)(format, cols, x, out);
}

void stored_matvec(const StoredMatrix& matrix, const float* x, int64_t first, int64_t count,
                   float* y) {
  HWY_DYNAMIC_DISPATCH(matvec_vector)(matrix, x, first, count, y);
}

}  // namespace ram
#endif  // HWY_ONCE
