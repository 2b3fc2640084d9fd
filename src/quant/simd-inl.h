// Vectors of up to 16 floats, and weights of any dtype loaded into them. Included once per target
// by the sources that use Highway's foreach_target; each target has its own copy.
//
// kVectorTarget is 0 for targets without fused multiply-add (plain C++, SSE): they take the plain
// versions, so that every machine gives the same bits.
#if defined(RAM_QUANT_SIMD_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAM_QUANT_SIMD_INL_H
#undef RAM_QUANT_SIMD_INL_H
#else
#define RAM_QUANT_SIMD_INL_H
#endif

#include <hwy/highway.h>

#include "ram/dtype.h"

#undef RAM_VECTOR_TARGET
#if (HWY_ARCH_X86 && HWY_TARGET <= HWY_AVX2) || \
    (HWY_ARCH_ARM_A64 && !HWY_HAVE_SCALABLE && HWY_TARGET < HWY_EMU128)
#define RAM_VECTOR_TARGET 1
#else
#define RAM_VECTOR_TARGET 0
#endif

#if RAM_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using U32 = hn::RebindToUnsigned<F>;
using VF = hn::Vec<F>;
using M = hn::Mask<F>;
inline constexpr int kWidth = static_cast<int>(hn::MaxLanes(F()));

/// kWidth weights at `in`, which need not be aligned, as float32.
template <DType kSource>
HWY_INLINE VF load_weights(const std::byte* in) {
  const F f;
  const hn::Rebind<uint16_t, F> u16;
  const auto* bytes = reinterpret_cast<const uint8_t*>(in);
  if constexpr (kSource == DType::kF32) {
    return hn::BitCast(f, hn::LoadU(hn::Repartition<uint8_t, F>(), bytes));
  } else {
    const auto half = hn::BitCast(u16, hn::LoadU(hn::Repartition<uint8_t, decltype(u16)>(), bytes));
    if constexpr (kSource == DType::kBF16) {
      return hn::BitCast(f, hn::ShiftLeft<16>(hn::PromoteTo(U32(), half)));
    } else {
      return hn::PromoteTo(f, hn::BitCast(hn::Rebind<hwy::float16_t, F>(), half));
    }
  }
}

/// Finite floats rounded to bf16 or f16, to nearest, ties to even, as from_f32 does; still float32.
HWY_INLINE VF round_to_bf16(VF value) {
  const U32 u;
  const auto bits = hn::BitCast(u, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
  const auto up = hn::Add(hn::Add(bits, hn::Set(u, 0x7fff)), odd);
  return hn::BitCast(F(), hn::And(up, hn::Set(u, 0xffff0000)));
}

HWY_INLINE VF round_to_f16(VF value) {
  const F f;
  const U32 u;
  const auto bits = hn::BitCast(u, value);
  const auto odd = hn::And(hn::ShiftRight<13>(bits), hn::Set(u, 1));
  const auto up = hn::Add(hn::Add(bits, hn::Set(u, 0xfff)), odd);
  const VF normal = hn::BitCast(f, hn::AndNot(hn::Set(u, 0x1fff), up));
  // Below 2^-14 the unit is 2^-24, which is the last bit of a float just above 0.5.
  const VF magnitude = hn::Abs(value);
  const VF half = hn::Set(f, 0.5F);
  const VF denormal = hn::CopySign(hn::Sub(hn::Add(magnitude, half), half), value);
  return hn::IfThenElse(hn::Lt(magnitude, hn::Set(f, 0x1p-14F)), denormal, normal);
}

HWY_INLINE VF round_to(VF value, DType dtype) {
  if (dtype == DType::kBF16) return round_to_bf16(value);
  if (dtype == DType::kF16) return round_to_f16(value);
  return value;
}

template <DType kSource>
HWY_INLINE void widen_as(const std::byte* in, int64_t count, DType dtype, float* HWY_RESTRICT out) {
  constexpr int64_t kElement = kSource == DType::kF32 ? 4 : 2;
  if (kSource == dtype) {
    for (int64_t i = 0; i < count; i += kWidth) {
      hn::Store(load_weights<kSource>(in + i * kElement), F(), out + i);
    }
  } else {
    for (int64_t i = 0; i < count; i += kWidth) {
      hn::Store(round_to(load_weights<kSource>(in + i * kElement), dtype), F(), out + i);
    }
  }
}

/// `count` weights, a multiple of 16, cast to `dtype` and held as float32.
/// @pre finite after the cast; out is aligned to a vector.
HWY_INLINE void widen(const std::byte* in, DType source, int64_t count, DType dtype,
                      float* HWY_RESTRICT out) {
  switch (source) {
    case DType::kBF16:
      return widen_as<DType::kBF16>(in, count, dtype, out);
    case DType::kF16:
      return widen_as<DType::kF16>(in, count, dtype, out);
    default:
      return widen_as<DType::kF32>(in, count, dtype, out);
  }
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // RAM_VECTOR_TARGET
#endif  // include guard
