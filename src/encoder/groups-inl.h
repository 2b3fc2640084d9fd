// Groups of a block in the lanes of vectors: loading and storing them, and feeding errors within
// one. Included once per target.
#if defined(RAM_ENCODER_GROUPS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAM_ENCODER_GROUPS_INL_H
#undef RAM_ENCODER_GROUPS_INL_H
#else
#define RAM_ENCODER_GROUPS_INL_H
#endif

#include <algorithm>
#include <cstring>

#include "lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

/// Between the scales that try_around tries: this share of a step at the end of the grid, and at
/// least so much of the scale that bf16 can tell them apart; the grid is shifted by so much of a
/// step too.
inline constexpr float kTriesApart = 0.08F;
inline constexpr float kLeastApart = 0.004F;
inline constexpr float kTriesShift = 0.15F;

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
HWY_INLINE void spread(VF from, const float* HWY_RESTRICT share, int64_t first, int64_t last,
                       float* HWY_RESTRICT to) {
  const F f;
  for (int64_t j = first; j < last; ++j) {
    hn::Store(hn::MulAdd(hn::Set(f, share[j]), from, hn::Load(f, to + j * kWidth)), f,
              to + j * kWidth);
  }
}

/// to[j] += sum over k in [begin, end) of share[k][j] * from[k], for columns [first, last), a
/// multiple of 8 of them.
HWY_INLINE void spread_group(const float* HWY_RESTRICT from, const float* HWY_RESTRICT shares,
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

/// What feeding a group back comes to: errors, codes and costs.
struct Fed {
  alignas(64) float error[kBlock * kWidth];
  alignas(64) float code[kBlock * kWidth];
  VF cost;
};

/// A group whose columns are to be rounded one after the other.
struct GroupFeed {
  int64_t size;
  float top;             ///< the greatest code
  const float* weights;  ///< [size], rows `stride` apart: what errors are counted from
  int64_t stride;
  const float* shares;  ///< [size, kBlock]: share k, j of column k's error goes to j > k
  const float* pivots;  ///< [size]
};

/// Rounds the columns, each feeding its error to those behind it. @param target [size, kWidth].
HWY_INLINE void feed_group(const GroupFeed& group, Rules rules, const float* HWY_RESTRICT target,
                           Fed& fed) {
  const F f;
  const VF top = hn::Set(f, group.top);
  const VF inverse = inverse_of(rules.scale);
  alignas(64) Columns now;
  std::memcpy(now, target, static_cast<size_t>(group.size * kWidth) * sizeof(float));
  fed.cost = hn::Zero(f);
  for (int64_t k = 0; k < group.size; ++k) {
    const VF from = hn::Sub(hn::Load(f, now + k * kWidth), rules.bias);
    const VF steps = hn::Round(hn::Mul(from, inverse));
    const VF code = hn::Min(hn::Max(steps, hn::Zero(f)), top);
    const VF residual = hn::NegMulAdd(rules.scale, code, from);
    const VF weight = hn::LoadU(f, group.weights + k * group.stride);
    const VF error = hn::NegMulAdd(rules.scale, code, hn::Sub(weight, rules.bias));
    fed.cost = hn::MulAdd(hn::Mul(residual, residual), hn::Set(f, group.pivots[k]), fed.cost);
    hn::Store(code, f, fed.code + k * kWidth);
    hn::Store(error, f, fed.error + k * kWidth);
    spread(error, group.shares + k * kBlock, k + 1, group.size, now);
  }
}

/// Where the columns of a group would go if none were rounded: what its grid is searched for. The
/// target of a column knows of the errors before the group only; those ahead of it in the group
/// move it too.
HWY_INLINE void settle(const GroupFeed& group, const float* HWY_RESTRICT target,
                       float* HWY_RESTRICT settled) {
  const F f;
  std::memcpy(settled, target, static_cast<size_t>(group.size * kWidth) * sizeof(float));
  for (int64_t k = 0; k < group.size; ++k) {
    const VF moved = hn::Load(f, settled + k * kWidth);
    spread(hn::Sub(hn::LoadU(f, group.weights + k * group.stride), moved),
           group.shares + k * kBlock, k + 1, group.size, settled);
  }
}

/// Takes over the lanes of `mask`.
HWY_INLINE void take(M mask, const Fed& from, int64_t size, Fed& to) {
  const F f;
  to.cost = hn::IfThenElse(mask, from.cost, to.cost);
  for (int64_t i = 0; i < size * kWidth; i += kWidth) {
    hn::BlendedStore(hn::Load(f, from.error + i), mask, f, to.error + i);
    hn::BlendedStore(hn::Load(f, from.code + i), mask, f, to.code + i);
  }
}

/// Tries the rules out, and takes what comes of them in the lanes where that costs less.
HWY_INLINE void try_rules(const GroupFeed& group, const Storage& storage, Rules next,
                          const float* HWY_RESTRICT target, Rules& rules, Fed& fed) {
  const F f;
  Fed other;
  feed_group(group, next, target, other);
  const M better = hn::And(hn::Lt(other.cost, fed.cost), storage.fits(next));
  if (hn::AllFalse(f, better)) return;
  take(better, other, group.size, fed);
  rules.scale = hn::IfThenElse(better, next.scale, rules.scale);
  rules.bias = hn::IfThenElse(better, next.bias, rules.bias);
}

/// Scales around those of the rules, about almost the same middle: which is best shows once it is
/// tried.
HWY_INLINE void try_around(const GroupFeed& group, const Storage& storage, int tries,
                           const float* HWY_RESTRICT target, Rules& rules, Fed& fed) {
  const F f;
  const Rules middle = rules;
  const VF half = hn::Set(f, storage.top / 2);
  const float apart = std::max(kTriesApart / storage.top, kLeastApart);
  for (int i = 1; i <= 2 * tries; ++i) {
    const float change = apart * static_cast<float>((i + 1) / 2) * (i % 2 == 0 ? 1.0F : -1.0F);
    const float shift = i % 4 < 2 ? kTriesShift : -kTriesShift;
    const VF scale = storage.round(hn::Mul(middle.scale, hn::Set(f, 1 + change)));
    const VF centered = hn::MulAdd(half, hn::Sub(middle.scale, scale), middle.bias);
    const VF bias = hn::MulAdd(hn::Set(f, shift), middle.scale, centered);
    try_rules(group, storage, {scale, storage.round(bias)}, target, rules, fed);
  }
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // include guard
