// The vectorized affine_encode and affine_decode, and the search for NaN weights. The same bits as
// affine_ref.cpp: IEEE 754 defines the rounding of every operation.
#include <algorithm>
#include <bit>
#include <cstring>

#include "ram/simd_targets.h"

#include "affine_ref.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

#if RAM_VECTOR_TARGET

/// Eight codes are moved as eight bytes whatever their number of bits: slack for the last 8-byte
/// store.
inline constexpr int64_t kOverhang = 8;

using U64 = hn::Repartition<uint64_t, F>;
using V64 = hn::Vec<U64>;

struct CodeBlock {
  alignas(64) float weights[kBlockWeights];
  GroupEnds ends;
  alignas(64) float scale[kBlockGroups];
  alignas(64) float bias[kBlockGroups];
  alignas(64) uint8_t codes[kBlockWeights];               ///< one per byte
  alignas(64) uint8_t packed[kBlockWeights + kOverhang];  ///< as stored
};

/// mlx_rule of every group of the block.
HWY_INLINE void set_rules(CodeBlock& block, AffineFormat format) {
  const F f;
  find_ends(block.weights, block.ends);
  int groups = kBlockGroups;
  for (int size = kLeastGroup; size < format.group_size; size *= 2) {
    join_ends(block.ends, groups);
    groups /= 2;
  }
  for (int g = 0; g < groups; g += kWidth) {
    const VectorRule rule =
        mlx_rules(hn::Load(f, block.ends.lo + g), hn::Load(f, block.ends.hi + g),
                  hn::Set(f, top_code(format.bits)));
    hn::Store(rule.scale, f, block.scale + g);
    hn::Store(rule.bias, f, block.bias + g);
  }
}

/// code_of every weight of the block.
template <int kGroupSize>
HWY_INLINE void set_codes(CodeBlock& block, int bits) {
  const F f;
  const hn::Rebind<int32_t, F> i32;
  const hn::Rebind<uint8_t, F> u8;
  const VF top = hn::Set(f, top_code(bits));
  for (int g = 0; g < kBlockWeights / kGroupSize; ++g) {
    const VF bias = hn::Set(f, block.bias[g]);
    const VF scale = hn::Set(f, block.scale[g]);
    for (int i = g * kGroupSize; i < (g + 1) * kGroupSize; i += kWidth) {
      const VF u = hn::Sub(hn::Load(f, block.weights + i), bias);
      const VF steps = hn::Round(hn::Div(u, scale));
      // The comparison comes first: it is false for 0 / 0.
      const VF code = hn::Min(hn::IfThenElseZero(hn::Gt(steps, hn::Zero(f)), steps), top);
      hn::Store(hn::DemoteTo(u8, hn::ConvertTo(i32, code)), u8, block.codes + i);
    }
  }
}

/// Moves the upper half of each piece of 2 * kHalf bits down next to the lower half's `used` bits,
/// or back.
template <int kHalf>
HWY_INLINE V64 close_gap(V64 x, int used) {
  const U64 u64;
  const auto low = hn::Set(u64, ~uint64_t{0} / ((uint64_t{1} << kHalf) + 1));
  return hn::Or(hn::And(x, low), hn::ShiftRightSame(hn::AndNot(low, x), kHalf - used));
}

template <int kHalf>
HWY_INLINE V64 open_gap(V64 x, int used) {
  const U64 u64;
  const uint64_t every =
      (~uint64_t{0} / ((uint64_t{1} << kHalf) + 1)) / ((uint64_t{1} << kHalf) - 1);
  const auto low = hn::Set(u64, every * ((uint64_t{1} << used) - 1));
  const auto high = hn::Set(u64, every * (((uint64_t{1} << used) - 1) << used));
  return hn::Or(hn::And(x, low), hn::ShiftLeftSame(hn::And(x, high), kHalf - used));
}

/// From one code per byte to one bit string, the first code lowest.
HWY_INLINE void pack(CodeBlock& block, int64_t count, int bits) {
  static_assert(std::endian::native == std::endian::little,
                "codes are stored least significant byte first");
  const U64 u64;
  constexpr int64_t kEight = static_cast<int64_t>(hn::MaxLanes(U64()));
  alignas(64) uint64_t eights[kEight];
  uint8_t* out = block.packed;
  for (int64_t i = 0; i < count; i += 8 * kEight) {
    const auto bytes = hn::Load(hn::Repartition<uint8_t, F>(), block.codes + i);
    V64 x = hn::BitCast(u64, bytes);
    x = close_gap<8>(x, bits);
    x = close_gap<16>(x, 2 * bits);
    x = close_gap<32>(x, 4 * bits);
    hn::Store(x, u64, eights);
    for (const uint64_t eight : eights) {
      std::memcpy(out, &eight, sizeof(eight));
      out += bits;
    }
  }
}

HWY_INLINE void unpack(CodeBlock& block, int64_t count, int bits) {
  const U64 u64;
  constexpr int64_t kEight = static_cast<int64_t>(hn::MaxLanes(U64()));
  alignas(64) uint64_t eights[kEight];
  const uint8_t* in = block.packed;
  for (int64_t i = 0; i < count; i += 8 * kEight) {
    for (uint64_t& eight : eights) {
      std::memcpy(&eight, in, sizeof(eight));
      in += bits;
    }
    V64 x = hn::Load(u64, eights);
    x = open_gap<32>(x, 4 * bits);
    x = open_gap<16>(x, 2 * bits);
    x = open_gap<8>(x, bits);
    hn::Store(hn::BitCast(hn::Repartition<uint8_t, F>(), x), hn::Repartition<uint8_t, F>(),
              block.codes + i);
  }
}

void encode_vector(const std::byte* weights, DType source, int64_t count, AffineFormat format,
                   DType dtype, uint32_t* codes, std::byte* scales, std::byte* biases) {
  CodeBlock block = {};
  const int64_t stored = dtype == DType::kF32 ? 4 : 2;
  for (int64_t first = 0; first < count; first += kBlockWeights) {
    const int64_t here = std::min<int64_t>(kBlockWeights, count - first);
    widen(weights + first * (source == DType::kF32 ? 4 : 2), source, here, dtype, block.weights);
    // A last block that is not full ends with weights of the previous block, which are not stored.
    set_rules(block, format);
    const int64_t groups = here / format.group_size;
    const int64_t group = first / format.group_size;
    from_f32(block.scale, dtype, groups, scales + group * stored);
    from_f32(block.bias, dtype, groups, biases + group * stored);
    if (format.group_size == 32) set_codes<32>(block, format.bits);
    if (format.group_size == 64) set_codes<64>(block, format.bits);
    if (format.group_size == 128) set_codes<128>(block, format.bits);
    pack(block, here, format.bits);
    std::memcpy(codes + code_words(first, format), block.packed,
                static_cast<size_t>(here * format.bits / 8));
  }
}

void pack_vector(const uint8_t* codes, int64_t count, int bits, uint32_t* packed) {
  CodeBlock block = {};
  for (int64_t first = 0; first < count; first += kBlockWeights) {
    const int64_t here = std::min<int64_t>(kBlockWeights, count - first);
    std::memcpy(block.codes, codes + first, static_cast<size_t>(here));
    pack(block, here, bits);
    std::memcpy(packed + first * bits / 32, block.packed, static_cast<size_t>(here * bits / 8));
  }
}

void decode_vector(const uint32_t* codes, const std::byte* scales, const std::byte* biases,
                   DType dtype, int64_t count, AffineFormat format, float* out) {
  const F f;
  const hn::Rebind<int32_t, F> i32;
  const hn::Rebind<uint8_t, F> u8;
  CodeBlock block = {};
  const int64_t stored = dtype == DType::kF32 ? 4 : 2;
  for (int64_t first = 0; first < count; first += kBlockWeights) {
    const int64_t here = std::min<int64_t>(kBlockWeights, count - first);
    std::memcpy(block.packed, codes + code_words(first, format),
                static_cast<size_t>(here * format.bits / 8));
    unpack(block, here, format.bits);
    for (int64_t i = 0; i < here; i += kWidth) {
      const int64_t group = (first + i) / format.group_size;
      float scale = 0;
      float bias = 0;
      to_f32(scales + group * stored, dtype, 1, &scale);
      to_f32(biases + group * stored, dtype, 1, &bias);
      const VF code = hn::ConvertTo(f, hn::PromoteTo(i32, hn::Load(u8, block.codes + i)));
      hn::StoreU(hn::Add(hn::Mul(hn::Set(f, scale), code), hn::Set(f, bias)), f, out + first + i);
    }
  }
}

/// First of `count` elements whose bits without the sign are at least `least`; T is as wide as an
/// element.
template <typename T>
HWY_INLINE int64_t find_magnitude(const std::byte* weights, int64_t count, T least) {
  const hn::ScalableTag<T> d;
  const hn::Repartition<uint8_t, decltype(d)> bytes;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  const auto magnitude = [&](int64_t i) {
    const auto* at = reinterpret_cast<const uint8_t*>(weights + i * int64_t{sizeof(T)});
    return hn::And(hn::BitCast(d, hn::LoadU(bytes, at)), hn::Set(d, hwy::LimitsMax<T>()));
  };
  const auto limit = hn::Set(d, static_cast<T>(least - 1));
  int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    const auto most = hn::Max(hn::Max(magnitude(i), magnitude(i + lanes)),
                              hn::Max(magnitude(i + 2 * lanes), magnitude(i + 3 * lanes)));
    if (!hn::AllFalse(d, hn::Gt(most, limit))) break;
  }
  for (; i < count; ++i) {
    T value = 0;
    std::memcpy(&value, weights + i * int64_t{sizeof(T)}, sizeof(T));
    if ((value & hwy::LimitsMax<T>()) >= least) return i;
  }
  return -1;
}

int64_t find_vector(const std::byte* weights, DType source, int64_t count, DType dtype) {
  // The least bits that are infinite or round to infinity: in bf16 half a unit above its greatest
  // value, in f16 from 65520. In bf16 the first value above that is 65536; f16 always fits.
  if (source == DType::kF16) return find_magnitude<int16_t>(weights, count, 0x7c00);
  if (source == DType::kBF16) {
    return find_magnitude<int16_t>(weights, count, dtype == DType::kF16 ? 0x4780 : 0x7f80);
  }
  int32_t least = 0x7f800000;
  if (dtype == DType::kBF16) least = 0x7f7f8000;
  if (dtype == DType::kF16) least = 0x477ff000;
  return find_magnitude<int32_t>(weights, count, least);
}

#else

void pack_vector(const uint8_t* codes, int64_t count, int bits, uint32_t* packed) {
  affine_pack_ref(codes, count, bits, packed);
}

void encode_vector(const std::byte* weights, DType source, int64_t count, AffineFormat format,
                   DType dtype, uint32_t* codes, std::byte* scales, std::byte* biases) {
  affine_encode_ref(weights, source, 1, count, format, dtype, codes, scales, biases);
}

void decode_vector(const uint32_t* codes, const std::byte* scales, const std::byte* biases,
                   DType dtype, int64_t count, AffineFormat format, float* out) {
  affine_decode_ref(codes, scales, biases, dtype, 1, count, format, out);
}

int64_t find_vector(const std::byte* weights, DType source, int64_t count, DType dtype) {
  return find_non_finite_ref(weights, source, count, dtype);
}

#endif  // RAM_VECTOR_TARGET

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(encode_vector);
HWY_EXPORT(pack_vector);
HWY_EXPORT(decode_vector);
HWY_EXPORT(find_vector);

// A group never crosses the end of a row, and fills whole words: a matrix is one long row.
void affine_encode(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                   AffineFormat format, DType dtype, uint32_t* codes, std::byte* scales,
                   std::byte* biases) {
  HWY_DYNAMIC_DISPATCH(encode_vector)
  (weights, source, rows * cols, format, dtype, codes, scales, biases);
}

void affine_pack(const uint8_t* codes, int64_t count, int bits, uint32_t* packed) {
  HWY_DYNAMIC_DISPATCH(pack_vector)(codes, count, bits, packed);
}

void affine_decode(const uint32_t* codes, const std::byte* scales, const std::byte* biases,
                   DType dtype, int64_t rows, int64_t cols, AffineFormat format, float* out) {
  HWY_DYNAMIC_DISPATCH(decode_vector)(codes, scales, biases, dtype, rows * cols, format, out);
}

int64_t find_non_finite(const std::byte* weights, DType source, int64_t count, DType dtype) {
  return HWY_DYNAMIC_DISPATCH(find_vector)(weights, source, count, dtype);
}

}  // namespace ram
#endif
