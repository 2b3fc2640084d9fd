// Search, error feedback and coordinate descent over the columns of a block, a vector of rows at a
// time: what a vector works on fits into the first cache.
#include "lanes.h"

#include <algorithm>
#include <cstring>

#include "simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lanes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "lanes-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

/// Of the scale, between those that try_around tries.
inline constexpr float kTriesApart = 0.016F;

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

void search_lanes(const TileBlock& block, float* error) {
  const F f;
  const int size = block.format.group_size;
  const VF top = hn::Set(f, static_cast<float>((1 << block.format.bits) - 1));
  alignas(64) Columns values;
  for (int64_t lane = 0; lane < kTileRows; lane += kWidth) {
    load_columns(block.weights + lane, block.width, values);
    const Storage storage = storage_of(block, lane);
    for (int64_t first = 0; first < block.width; first += size) {
      Search search(values + first * kWidth, block.importance + first, size, storage);
      const Rules rules = search.run(block.effort);
      store_rules(block, first / size, lane, rules);
      const VF inverse = inverse_of(rules.scale);
      for (int64_t k = first; k < first + size; ++k) {
        const VF from = hn::Sub(hn::Load(f, values + k * kWidth), rules.bias);
        const VF steps = hn::Round(hn::Mul(from, inverse));
        const VF code = hn::Min(hn::Max(steps, hn::Zero(f)), top);
        store_code(code, block.codes + k * kTileRows + lane);
        if (error != nullptr) {
          hn::StoreU(hn::NegMulAdd(rules.scale, code, from), f, error + k * kTileRows + lane);
        }
      }
    }
  }
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

/// Rounds the columns of the group at `first`, one after the other, each feeding its error to those
/// behind it in the group. @param target [size, kWidth] of the group, left as it is.
HWY_INLINE void feed_group(const FeedbackBlock& block, int64_t lane, int64_t first, Rules rules,
                           const float* HWY_RESTRICT target, Fed& fed) {
  const F f;
  const int64_t size = block.format.group_size;
  const VF top = hn::Set(f, static_cast<float>((1 << block.format.bits) - 1));
  const VF inverse = inverse_of(rules.scale);
  const float* weights = block.weights + first * kTileRows + lane;
  const float* shares = block.feedback + first * kBlock + first;
  alignas(64) Columns now;
  std::memcpy(now, target, static_cast<size_t>(size * kWidth) * sizeof(float));
  fed.cost = hn::Zero(f);
  for (int64_t k = 0; k < size; ++k) {
    const VF from = hn::Sub(hn::Load(f, now + k * kWidth), rules.bias);
    const VF steps = hn::Round(hn::Mul(from, inverse));
    const VF code = hn::Min(hn::Max(steps, hn::Zero(f)), top);
    const VF residual = hn::NegMulAdd(rules.scale, code, from);
    const VF weight = hn::LoadU(f, weights + k * kTileRows);
    const VF error = hn::NegMulAdd(rules.scale, code, hn::Sub(weight, rules.bias));
    fed.cost =
        hn::MulAdd(hn::Mul(residual, residual), hn::Set(f, block.pivots[first + k]), fed.cost);
    hn::Store(code, f, fed.code + k * kWidth);
    hn::Store(error, f, fed.error + k * kWidth);
    spread(error, shares + k * kBlock, k + 1, size, now);
  }
}

/// Where the columns of a group would go if none were rounded: what its grid is searched for. The
/// target of a column knows of the errors before the group only; those ahead of it in the group
/// move it too.
HWY_INLINE void settle(const FeedbackBlock& block, int64_t lane, int64_t first,
                       const float* HWY_RESTRICT target, float* HWY_RESTRICT settled) {
  const F f;
  const int64_t size = block.format.group_size;
  const float* weights = block.weights + first * kTileRows + lane;
  const float* shares = block.feedback + first * kBlock + first;
  std::memcpy(settled, target, static_cast<size_t>(size * kWidth) * sizeof(float));
  for (int64_t k = 0; k < size; ++k) {
    const VF moved = hn::Load(f, settled + k * kWidth);
    spread(hn::Sub(hn::LoadU(f, weights + k * kTileRows), moved), shares + k * kBlock, k + 1, size,
           settled);
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

/// Scales around the searched one about the same middle: which is best shows once it is tried.
HWY_INLINE Rules try_around(const FeedbackBlock& block, const Storage& storage, int64_t lane,
                            int64_t first, Rules rules, const float* HWY_RESTRICT target,
                            Fed& fed) {
  const F f;
  const Rules middle = rules;
  const VF half = hn::Set(f, storage.top / 2);
  Fed other;
  for (int i = 1; i <= 2 * block.tries; ++i) {
    const float apart = kTriesApart * static_cast<float>((i + 1) / 2);
    const float factor = i % 2 == 0 ? 1 + apart : 1 - apart;
    const VF scale = storage.round(hn::Mul(middle.scale, hn::Set(f, factor)));
    const VF bias = hn::MulAdd(half, hn::Sub(middle.scale, scale), middle.bias);
    const Rules next = {scale, storage.round(bias)};
    feed_group(block, lane, first, next, target, other);
    const M better = hn::And(hn::Lt(other.cost, fed.cost), storage.fits(next));
    if (hn::AllFalse(f, better)) continue;
    take(better, other, block.format.group_size, fed);
    rules.scale = hn::IfThenElse(better, next.scale, rules.scale);
    rules.bias = hn::IfThenElse(better, next.bias, rules.bias);
  }
  return rules;
}

void feedback_lanes(const FeedbackBlock& block) {
  const F f;
  const int64_t size = block.format.group_size;
  alignas(64) Columns target;
  alignas(64) Columns settled;
  alignas(64) Columns error;
  Fed fed;
  for (int64_t lane = 0; lane < kTileRows; lane += kWidth) {
    load_columns(block.target + lane, block.width, target);
    const Storage storage = storage_of(block, lane);
    VF cost = hn::LoadU(f, block.objective + lane);
    for (int64_t first = 0; first < block.width; first += size) {
      const float* group = target + first * kWidth;
      settle(block, lane, first, group, settled);
      Search search(settled, block.importance + first, static_cast<int>(size), storage);
      Rules rules = search.run(block.effort);
      feed_group(block, lane, first, rules, group, fed);
      rules = try_around(block, storage, lane, first, rules, group, fed);
      store_rules(block, first / size, lane, rules);
      cost = hn::Add(cost, fed.cost);
      for (int64_t k = 0; k < size; ++k) {
        store_code(hn::Load(f, fed.code + k * kWidth),
                   block.codes + (first + k) * kTileRows + lane);
        hn::Store(hn::Load(f, fed.error + k * kWidth), f, error + (first + k) * kWidth);
      }
      spread_group(error, block.feedback, first, first + size, first + size, block.width, target);
    }
    hn::StoreU(cost, f, block.objective + lane);
    store_columns(error, block.width, block.error + lane);
  }
}

/// Scale and bias of a group for its codes by least squares in the metric of H, where that gains.
/// error and gradient [size, kWidth] are those of the group, moment its block of H.
HWY_INLINE Rules descend_rules(const TileBlock& block, const Storage& storage, Rules rules,
                               const uint8_t* codes, const float* HWY_RESTRICT moment,
                               float* HWY_RESTRICT error, float* HWY_RESTRICT gradient) {
  const F f;
  const int64_t size = block.format.group_size;
  alignas(64) Columns code;
  alignas(64) Columns by_code;  // H codes
  alignas(64) Columns by_one;   // H ones, the same in every lane
  for (int64_t k = 0; k < size; ++k) {
    hn::Store(load_code(codes + k * kTileRows), f, code + k * kWidth);
    hn::Store(hn::Zero(f), f, by_code + k * kWidth);
    hn::Store(hn::Zero(f), f, by_one + k * kWidth);
  }
  spread_group(code, moment, 0, size, 0, size, by_code);
  for (int64_t k = 0; k < size; ++k) spread(hn::Set(f, 1), moment + k * kBlock, 0, size, by_one);
  VF qq = hn::Zero(f), q = qq, n = qq, gq = qq, g = qq;
  for (int64_t k = 0; k < size; ++k) {
    const VF c = hn::Load(f, code + k * kWidth);
    const VF slope = hn::Load(f, gradient + k * kWidth);
    qq = hn::MulAdd(c, hn::Load(f, by_code + k * kWidth), qq);
    q = hn::Add(q, hn::Load(f, by_code + k * kWidth));
    n = hn::Add(n, hn::Load(f, by_one + k * kWidth));
    gq = hn::MulAdd(c, slope, gq);
    g = hn::Add(g, slope);
  }
  // error' = error - scale' codes - bias': the least of error'^T H error'.
  const VF determinant = hn::Sub(hn::Mul(qq, n), hn::Mul(q, q));
  const M some = hn::Gt(determinant, hn::Mul(hn::Set(f, 1e-5F), hn::Mul(qq, n)));
  const VF divisor = hn::IfThenElse(some, determinant, hn::Set(f, 1));
  const VF more_scale = hn::Div(hn::Sub(hn::Mul(gq, n), hn::Mul(g, q)), divisor);
  const VF more_bias = hn::Div(hn::Sub(hn::Mul(g, qq), hn::Mul(gq, q)), divisor);
  const Rules stored = {storage.round(hn::Add(rules.scale, more_scale)),
                        storage.round(hn::Add(rules.bias, more_bias))};
  const VF by_scale = hn::Sub(stored.scale, rules.scale);
  const VF by_bias = hn::Sub(stored.bias, rules.bias);
  // The change of the objective, for the rules as they are stored.
  const VF linear = hn::MulAdd(by_scale, gq, hn::Mul(by_bias, g));
  const VF cross = hn::Mul(hn::Mul(by_scale, by_bias), q);
  const VF squares =
      hn::MulAdd(hn::Mul(by_scale, by_scale), qq, hn::Mul(hn::Mul(by_bias, by_bias), n));
  const VF gain = hn::Sub(hn::Add(linear, linear), hn::Add(hn::Add(cross, cross), squares));
  const M take = hn::And(hn::And(some, hn::Gt(gain, hn::Zero(f))), storage.fits(stored));
  if (hn::AllFalse(f, take)) return rules;
  const VF scale = hn::IfThenElseZero(take, by_scale);
  const VF bias = hn::IfThenElseZero(take, by_bias);
  for (int64_t k = 0; k < size; ++k) {
    float* e = error + k * kWidth;
    float* slope = gradient + k * kWidth;
    hn::Store(hn::Sub(hn::NegMulAdd(scale, hn::Load(f, code + k * kWidth), hn::Load(f, e)), bias),
              f, e);
    hn::Store(
        hn::NegMulAdd(scale, hn::Load(f, by_code + k * kWidth),
                      hn::NegMulAdd(bias, hn::Load(f, by_one + k * kWidth), hn::Load(f, slope))),
        f, slope);
  }
  return {hn::IfThenElse(take, stored.scale, rules.scale),
          hn::IfThenElse(take, stored.bias, rules.bias)};
}

/// The codes of a group, one after the other, each to where the objective is least.
HWY_INLINE void descend_codes(const TileBlock& block, Rules rules, const float* weights,
                              uint8_t* codes, const float* HWY_RESTRICT moment,
                              float* HWY_RESTRICT error, float* HWY_RESTRICT gradient) {
  const F f;
  const int64_t size = block.format.group_size;
  const VF top = hn::Set(f, static_cast<float>((1 << block.format.bits) - 1));
  const VF inverse = inverse_of(rules.scale);
  for (int64_t k = 0; k < size; ++k) {
    const VF before = hn::Load(f, error + k * kWidth);
    const VF slope = hn::Load(f, gradient + k * kWidth);
    const VF weight = hn::LoadU(f, weights + k * kTileRows);
    // The best error, all others as they are, is before - slope / H_kk; target = weight - that.
    const VF wanted = hn::NegMulAdd(slope, hn::Set(f, 1 / moment[k * kBlock + k]), before);
    const VF code = code_of(hn::Sub(weight, wanted), rules.bias, inverse, top);
    const VF after = hn::NegMulAdd(rules.scale, code, hn::Sub(weight, rules.bias));
    const VF change = hn::Sub(after, before);
    store_code(code, codes + k * kTileRows);
    hn::Store(after, f, error + k * kWidth);
    if (hn::AllTrue(f, hn::Eq(change, hn::Zero(f)))) continue;
    spread(change, moment + k * kBlock, 0, size, gradient);
  }
}

void descend_lanes(const DescentBlock& block) {
  const F f;
  const int64_t size = block.format.group_size;
  alignas(64) Columns gradient;
  alignas(64) Columns error;
  alignas(64) Columns change;
  for (int64_t lane = 0; lane < kTileRows; lane += kWidth) {
    load_columns(block.gradient + lane, block.width, gradient);
    load_columns(block.error + lane, block.width, error);
    const Storage storage = storage_of(block, lane);
    for (int64_t first = 0; first < block.width; first += size) {
      const int64_t at = first * kTileRows + lane;
      const float* moment = block.moment + first * kBlock + first;
      float* scale = block.scale + first / size * kTileRows + lane;
      float* bias = block.bias + first / size * kTileRows + lane;
      std::memcpy(change + first * kWidth, error + first * kWidth,
                  static_cast<size_t>(size * kWidth) * sizeof(float));
      Rules rules = {hn::LoadU(f, scale), hn::LoadU(f, bias)};
      rules = descend_rules(block, storage, rules, block.codes + at, moment, error + first * kWidth,
                            gradient + first * kWidth);
      descend_codes(block, rules, block.weights + at, block.codes + at, moment,
                    error + first * kWidth, gradient + first * kWidth);
      store_rules(block, first / size, lane, rules);
      for (int64_t k = first; k < first + size; ++k) {
        const VF before = hn::Load(f, change + k * kWidth);
        hn::Store(hn::Sub(hn::Load(f, error + k * kWidth), before), f, change + k * kWidth);
      }
      spread_group(change, block.moment, first, first + size, first + size, block.width, gradient);
    }
    store_columns(error, block.width, block.error + lane);
    store_columns(change, block.width, block.change + lane);
  }
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(search_lanes);
HWY_EXPORT(feedback_lanes);
HWY_EXPORT(descend_lanes);

void search_block(const TileBlock& block, float* error) {
  HWY_DYNAMIC_DISPATCH(search_lanes)(block, error);
}

void feedback_block(const FeedbackBlock& block) {
  HWY_DYNAMIC_DISPATCH(feedback_lanes)(block);
}

void descend_block(const DescentBlock& block) {
  HWY_DYNAMIC_DISPATCH(descend_lanes)(block);
}

}  // namespace ram
#endif
