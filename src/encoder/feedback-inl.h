// Groups of a block in the lanes of vectors: loads and stores them, and propagates errors within
// one. Included once per target.
#if defined(RAM_ENCODER_FEEDBACK_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAM_ENCODER_FEEDBACK_INL_H
#undef RAM_ENCODER_FEEDBACK_INL_H
#else
#define RAM_ENCODER_FEEDBACK_INL_H
#endif

#include <algorithm>
#include <cstring>

#include "lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

/// The scales that try_around tries differ by kScaleStep of a step at the end of the grid, and at
/// least by kLeastScaleStep of the scale, so that they differ in bf16. The grid is also shifted by
/// kBiasShift of a step.
inline constexpr float kScaleStep = 0.08F;
inline constexpr float kLeastScaleStep = 0.004F;
inline constexpr float kBiasShift = 0.15F;

/// kBlock columns of one vector of rows.
using Columns = float[kBlock * kWidth];

HWY_INLINE void load_columns(const float* from, int64_t width, float* HWY_RESTRICT to) {
  for (int64_t k = 0; k < width; ++k) {
    hn::Store(hn::LoadU(F(), from + k * kTileRows), F(), to + k * kWidth);
  }
}

HWY_INLINE void store_columns(const float* HWY_RESTRICT from, int64_t width, float* to) {
  for (int64_t k = 0; k < width; ++k) {
    hn::StoreU(hn::Load(F(), from + k * kWidth), F(), to + k * kTileRows);
  }
}

HWY_INLINE Storage storage_of(const TileBlock& block, int64_t lane) {
  const F f;
  const VF unit = hn::LoadU(f, block.unit + lane);
  return {unit, hn::Div(hn::Set(f, 1), unit), block.dtype,
          static_cast<float>((1 << block.format.bits) - 1)};
}

HWY_INLINE void store_code(VF code, uint8_t* to) {
  const hn::Rebind<int32_t, F> i32;
  const hn::Rebind<uint8_t, F> u8;
  hn::StoreU(hn::DemoteTo(u8, hn::ConvertTo(i32, code)), u8, to);
}

HWY_INLINE VF load_code(const uint8_t* from) {
  const hn::Rebind<int32_t, F> i32;
  const hn::Rebind<uint8_t, F> u8;
  return hn::ConvertTo(F(), hn::PromoteTo(i32, hn::LoadU(u8, from)));
}

HWY_INLINE void store_rules(const TileBlock& block, int64_t group, int64_t lane, Rules rules) {
  hn::StoreU(rules.scale, F(), block.scale + group * kTileRows + lane);
  hn::StoreU(rules.bias, F(), block.bias + group * kTileRows + lane);
}

/// to[j] += share[j] * from for columns [first, last).
HWY_INLINE void propagate(VF from, const float* HWY_RESTRICT share, int64_t first, int64_t last,
                          float* HWY_RESTRICT to) {
  const F f;
  for (int64_t j = first; j < last; ++j) {
    hn::Store(hn::MulAdd(hn::Set(f, share[j]), from, hn::Load(f, to + j * kWidth)), f,
              to + j * kWidth);
  }
}

/// to[j] += sum over k in [begin, end) of share[k][j] * from[k], for columns [first, last), a
/// multiple of 8 of them.
HWY_INLINE void propagate_group(const float* HWY_RESTRICT from, const float* HWY_RESTRICT shares,
                                int64_t begin, int64_t end, int64_t first, int64_t last,
                                float* HWY_RESTRICT to) {
  const F f;
  for (int64_t j = first; j < last; j += 8) {
    VF sums[8];
    for (int64_t i = 0; i < 8; ++i) sums[i] = hn::Load(f, to + (j + i) * kWidth);
    for (int64_t k = begin; k < end; ++k) {
      const VF error = hn::Load(f, from + k * kWidth);
      const float* share = shares + k * kBlock + j;
      for (int64_t i = 0; i < 8; ++i) sums[i] = hn::MulAdd(hn::Set(f, share[i]), error, sums[i]);
    }
    for (int64_t i = 0; i < 8; ++i) hn::Store(sums[i], f, to + (j + i) * kWidth);
  }
}

/// The result of quantizing a group with feedback: errors, codes and costs.
struct QuantizedGroup {
  HWY_INLINE QuantizedGroup() {}  // uninitialised; see Rules

  alignas(64) float error[kBlock * kWidth];
  alignas(64) float code[kBlock * kWidth];
  VF cost;
};

/// A group whose columns will be rounded one after the other.
struct GroupInput {
  int64_t size;
  float top;             ///< the greatest code
  const float* weights;  ///< [size], rows `stride` apart: errors are relative to these
  int64_t stride;
  const float* shares;  ///< [size, kBlock]: share k, j of column k's error goes to j > k
  const float* pivots;  ///< [size]
};

/// Columns that are processed together: independent sums hide the latency of multiplications.
inline constexpr int kTogether = 4;

/// now[i] += sum over j < first of share j, first + i times from[j]. The sums are named variables:
/// compilers keep those in registers, but not always arrays.
HWY_INLINE void add_propagated(const float* HWY_RESTRICT from, const float* HWY_RESTRICT shares,
                               int64_t first, VF (&now)[kTogether]) {
  static_assert(kTogether == 4);
  const F f;
  VF a = now[0];
  VF b = now[1];
  VF c = now[2];
  VF d = now[3];
  for (int64_t j = 0; j < first; ++j) {
    const VF error = hn::Load(f, from + j * kWidth);
    const float* share = shares + j * kBlock + first;
    a = hn::MulAdd(hn::Set(f, share[0]), error, a);
    b = hn::MulAdd(hn::Set(f, share[1]), error, b);
    c = hn::MulAdd(hn::Set(f, share[2]), error, c);
    d = hn::MulAdd(hn::Set(f, share[3]), error, d);
  }
  now[0] = a;
  now[1] = b;
  now[2] = c;
  now[3] = d;
}

/// The same from two to two.
HWY_INLINE void add_propagated_two(const float* HWY_RESTRICT from0, const float* HWY_RESTRICT from1,
                                   const float* HWY_RESTRICT shares, int64_t first,
                                   VF (&now0)[kTogether], VF (&now1)[kTogether]) {
  const F f;
  VF a0 = now0[0];
  VF b0 = now0[1];
  VF c0 = now0[2];
  VF d0 = now0[3];
  VF a1 = now1[0];
  VF b1 = now1[1];
  VF c1 = now1[2];
  VF d1 = now1[3];
  for (int64_t j = 0; j < first; ++j) {
    const VF error0 = hn::Load(f, from0 + j * kWidth);
    const VF error1 = hn::Load(f, from1 + j * kWidth);
    const float* share = shares + j * kBlock + first;
    const VF a = hn::Set(f, share[0]);
    const VF b = hn::Set(f, share[1]);
    const VF c = hn::Set(f, share[2]);
    const VF d = hn::Set(f, share[3]);
    a0 = hn::MulAdd(a, error0, a0);
    a1 = hn::MulAdd(a, error1, a1);
    b0 = hn::MulAdd(b, error0, b0);
    b1 = hn::MulAdd(b, error1, b1);
    c0 = hn::MulAdd(c, error0, c0);
    c1 = hn::MulAdd(c, error1, c1);
    d0 = hn::MulAdd(d, error0, d0);
    d1 = hn::MulAdd(d, error1, d1);
  }
  now0[0] = a0;
  now0[1] = b0;
  now0[2] = c0;
  now0[3] = d0;
  now1[0] = a1;
  now1[1] = b1;
  now1[2] = c1;
  now1[3] = d1;
}

/// Rounds column first + i of the kTogether columns from `first` on, and propagates its error to
/// the later ones of these.
HWY_INLINE void quantize_column(const GroupInput& group, Rules rules, VF inverse, int64_t first,
                                int i, VF (&now)[kTogether], QuantizedGroup& result) {
  const F f;
  const int64_t k = first + i;
  const VF from = hn::Sub(now[i], rules.bias);
  const VF steps = hn::Round(hn::Mul(from, inverse));
  const VF code = hn::Min(hn::Max(steps, hn::Zero(f)), hn::Set(f, group.top));
  const VF residual = hn::NegMulAdd(rules.scale, code, from);
  const VF weight = hn::LoadU(f, group.weights + k * group.stride);
  const VF error = hn::NegMulAdd(rules.scale, code, hn::Sub(weight, rules.bias));
  result.cost = hn::MulAdd(hn::Mul(residual, residual), hn::Set(f, group.pivots[k]), result.cost);
  hn::Store(code, f, result.code + k * kWidth);
  hn::Store(error, f, result.error + k * kWidth);
  const float* share = group.shares + k * kBlock + first;
  for (int j = i + 1; j < kTogether; ++j) {
    now[j] = hn::MulAdd(hn::Set(f, share[j]), error, now[j]);
  }
}

/// Rounds the columns, propagating each one's error to the later ones. @param target [size,
/// kWidth].
HWY_INLINE void quantize_group(const GroupInput& group, Rules rules,
                               const float* HWY_RESTRICT target, QuantizedGroup& result) {
  const F f;
  const VF inverse = inverse_of(rules.scale);
  result.cost = hn::Zero(f);
  for (int64_t first = 0; first < group.size; first += kTogether) {
    VF now[kTogether];
    for (int i = 0; i < kTogether; ++i) now[i] = hn::Load(f, target + (first + i) * kWidth);
    add_propagated(result.error, group.shares, first, now);
    for (int i = 0; i < kTogether; ++i) {
      quantize_column(group, rules, inverse, first, i, now, result);
    }
  }
}

/// Two grids at once: while one waits for the result of its column, the other keeps the processor
/// busy.
HWY_INLINE void quantize_two(const GroupInput& group, Rules rules0, Rules rules1,
                             const float* HWY_RESTRICT target, QuantizedGroup& result0,
                             QuantizedGroup& result1) {
  const F f;
  const VF inverse0 = inverse_of(rules0.scale);
  const VF inverse1 = inverse_of(rules1.scale);
  result0.cost = hn::Zero(f);
  result1.cost = hn::Zero(f);
  for (int64_t first = 0; first < group.size; first += kTogether) {
    VF now0[kTogether];
    VF now1[kTogether];
    for (int i = 0; i < kTogether; ++i) {
      now0[i] = hn::Load(f, target + (first + i) * kWidth);
      now1[i] = now0[i];
    }
    add_propagated_two(result0.error, result1.error, group.shares, first, now0, now1);
    for (int i = 0; i < kTogether; ++i) {
      quantize_column(group, rules0, inverse0, first, i, now0, result0);
      quantize_column(group, rules1, inverse1, first, i, now1, result1);
    }
  }
}

/// The values of a group's columns if none were rounded: its grid is searched for these. A column's
/// target contains only the errors from before the group; earlier columns of the group change it
/// too.
HWY_INLINE void propagate_unrounded(const GroupInput& group, const float* HWY_RESTRICT target,
                                    float* HWY_RESTRICT unrounded) {
  const F f;
  alignas(64) Columns moved;  // weight - unrounded
  for (int64_t first = 0; first < group.size; first += kTogether) {
    VF now[kTogether];
    for (int i = 0; i < kTogether; ++i) now[i] = hn::Load(f, target + (first + i) * kWidth);
    add_propagated(moved, group.shares, first, now);
    for (int i = 0; i < kTogether; ++i) {
      const int64_t k = first + i;
      const VF error = hn::Sub(hn::LoadU(f, group.weights + k * group.stride), now[i]);
      hn::Store(now[i], f, unrounded + k * kWidth);
      hn::Store(error, f, moved + k * kWidth);
      const float* share = group.shares + k * kBlock + first;
      for (int j = i + 1; j < kTogether; ++j) {
        now[j] = hn::MulAdd(hn::Set(f, share[j]), error, now[j]);
      }
    }
  }
}

/// Copies the lanes in `mask`.
HWY_INLINE void take(M mask, const QuantizedGroup& from, int64_t size, QuantizedGroup& to) {
  const F f;
  to.cost = hn::IfThenElse(mask, from.cost, to.cost);
  for (int64_t i = 0; i < size * kWidth; i += kWidth) {
    hn::BlendedStore(hn::Load(f, from.error + i), mask, f, to.error + i);
    hn::BlendedStore(hn::Load(f, from.code + i), mask, f, to.code + i);
  }
}

/// Takes the rules `next` and their result in the lanes where they cost less.
HWY_INLINE void take_better(const GroupInput& group, const Storage& storage, Rules next,
                            const QuantizedGroup& other, Rules& rules, QuantizedGroup& result) {
  const F f;
  const M better = hn::And(hn::Lt(other.cost, result.cost), storage.fits(next));
  if (hn::AllFalse(f, better)) return;
  take(better, other, group.size, result);
  rules.scale = hn::IfThenElse(better, next.scale, rules.scale);
  rules.bias = hn::IfThenElse(better, next.bias, rules.bias);
}

/// Tries scales around those of the rules, with almost the same middle of the grid: which one is
/// best can only be found by trying.
HWY_INLINE void try_around(const GroupInput& group, const Storage& storage, int tries,
                           const float* HWY_RESTRICT target, Rules& rules, QuantizedGroup& result) {
  const F f;
  const Rules middle = rules;
  const VF half = hn::Set(f, storage.top / 2);
  const float step = std::max(kScaleStep / storage.top, kLeastScaleStep);
  QuantizedGroup result0;
  QuantizedGroup result1;
  const auto grid_at = [&](float change, float shift) {
    const VF scale = storage.round(hn::Mul(middle.scale, hn::Set(f, 1 + change)));
    const VF centered = hn::MulAdd(half, hn::Sub(middle.scale, scale), middle.bias);
    const VF bias = hn::MulAdd(hn::Set(f, shift), middle.scale, centered);
    return Rules{scale, storage.round(bias)};
  };
  for (int i = 1; i <= tries; ++i) {
    const float change = step * static_cast<float>(i);
    const float shift = i % 2 == 0 ? kBiasShift : -kBiasShift;
    const Rules narrower = grid_at(-change, -shift);
    const Rules wider = grid_at(change, shift);
    quantize_two(group, narrower, wider, target, result0, result1);
    take_better(group, storage, narrower, result0, rules, result);
    take_better(group, storage, wider, result1, rules, result);
  }
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // include guard
