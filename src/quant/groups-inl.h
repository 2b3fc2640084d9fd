// Minimum and maximum of every group of a block of weights, and MLX's rule on as many groups at
// once as a vector has lanes. Included once per target, like simd-inl.h.
#if defined(RAM_QUANT_GROUPS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAM_QUANT_GROUPS_INL_H
#undef RAM_QUANT_GROUPS_INL_H
#else
#define RAM_QUANT_GROUPS_INL_H
#endif

#include "affine_rule.h"
#include "simd-inl.h"

#if RAM_VECTOR_TARGET
HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

inline constexpr int kLeastGroup = 32;
inline constexpr int kBlockWeights = 2048;  ///< 8 KiB of float32: fits the L1 cache
inline constexpr int kBlockGroups = kBlockWeights / kLeastGroup;

/// Of each group, in order; groups of one size at a time.
struct GroupEnds {
  alignas(64) float lo[kBlockGroups];
  alignas(64) float hi[kBlockGroups];
};

struct Least {
  template <class V>
  static HWY_INLINE V of(V a, V b) {
    return hn::Min(a, b);
  }
};
struct Greatest {
  template <class V>
  static HWY_INLINE V of(V a, V b) {
    return hn::Max(a, b);
  }
};

/// Reduces four lanes of a vector to one.
template <class Pick, class D>
HWY_INLINE auto fold(D, hn::Vec<D> v) {
  if constexpr (hn::MaxLanes(D()) == 4) {
    return v;
  } else {
    const hn::Half<D> half;
    return fold<Pick>(half, Pick::of(hn::LowerHalf(half, v), hn::UpperHalf(half, v)));
  }
}

/// Four vectors in, one result each out: of all lanes of a, of b, of c, of d.
template <class Pick>
HWY_INLINE void reduce4(VF a, VF b, VF c, VF d, float* HWY_RESTRICT out) {
  const F f;
  const hn::Repartition<uint64_t, F> pairs;
  const VF ab = Pick::of(hn::InterleaveLower(f, a, b), hn::InterleaveUpper(f, a, b));
  const VF cd = Pick::of(hn::InterleaveLower(f, c, d), hn::InterleaveUpper(f, c, d));
  const auto ab_pairs = hn::BitCast(pairs, ab);
  const auto cd_pairs = hn::BitCast(pairs, cd);
  const VF abcd = Pick::of(hn::BitCast(f, hn::InterleaveLower(pairs, ab_pairs, cd_pairs)),
                           hn::BitCast(f, hn::InterleaveUpper(pairs, ab_pairs, cd_pairs)));
  hn::StoreU(fold<Pick>(f, abcd), hn::FixedTag<float, 4>(), out);
}

/// Minimum and maximum of each group of 32 of a block.
HWY_INLINE void find_ends(const float* HWY_RESTRICT weights, GroupEnds& ends) {
  const F f;
  for (int group = 0; group < kBlockGroups; group += 4) {
    VF lo[4];
    VF hi[4];
    for (int g = 0; g < 4; ++g) {
      const float* HWY_RESTRICT from = weights + (group + g) * kLeastGroup;
      lo[g] = hn::Load(f, from);
      hi[g] = lo[g];
      for (int i = kWidth; i < kLeastGroup; i += kWidth) {
        const VF w = hn::Load(f, from + i);
        lo[g] = hn::Min(lo[g], w);
        hi[g] = hn::Max(hi[g], w);
      }
    }
    reduce4<Least>(lo[0], lo[1], lo[2], lo[3], ends.lo + group);
    reduce4<Greatest>(hi[0], hi[1], hi[2], hi[3], ends.hi + group);
  }
}

/// From the minima and maxima of `groups` groups to those of half as many groups of twice the size.
HWY_INLINE void join_ends(GroupEnds& ends, int groups) {
  const F f;
  for (int g = 0; g < groups; g += 2 * kWidth) {
    const VF lo0 = hn::Load(f, ends.lo + g);
    const VF lo1 = hn::Load(f, ends.lo + g + kWidth);
    const VF hi0 = hn::Load(f, ends.hi + g);
    const VF hi1 = hn::Load(f, ends.hi + g + kWidth);
    const VF lo = hn::Min(hn::ConcatEven(f, lo1, lo0), hn::ConcatOdd(f, lo1, lo0));
    const VF hi = hn::Max(hn::ConcatEven(f, hi1, hi0), hn::ConcatOdd(f, hi1, hi0));
    hn::Store(lo, f, ends.lo + g / 2);
    hn::Store(hi, f, ends.hi + g / 2);
  }
}

struct VectorRule {
  VF scale;
  VF bias;
};

/// mlx_rule.
HWY_INLINE VectorRule mlx_rules(VF lo, VF hi, VF top) {
  const F f;
  const M low_edge = hn::Gt(hn::Abs(lo), hn::Abs(hi));
  const VF edge = hn::IfThenElse(low_edge, lo, hi);
  const VF step = hn::Max(hn::Div(hn::Sub(hi, lo), top), hn::Set(f, kMlxLeastScale));
  const VF signed_step = hn::IfThenElse(low_edge, step, hn::Neg(step));
  const VF steps = hn::Round(hn::Div(edge, signed_step));
  const M none = hn::Eq(steps, hn::Zero(f));
  return {hn::IfThenElse(none, signed_step, hn::Div(edge, steps)), hn::IfThenZeroElse(none, edge)};
}

/// reference_rule.
HWY_INLINE VectorRule reference_rules(VF lo, VF hi, VF top) {
  const VF step = hn::Div(hn::Sub(hi, lo), top);
  return {hn::Max(step, hn::Set(F(), kSimulatedLeastScale)), lo};
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // RAM_VECTOR_TARGET
#endif  // include guard
