// Coordinate descent over the columns of a block, a vector of rows at a time.
#include <algorithm>
#include <cstring>

#include "ram/simd_targets.h"

#include "lanes.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "descent.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "feedback-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

/// Scale and bias of a group for its codes, by least squares in the metric of H, if that gains.
/// error and gradient [size, kWidth] are the group's, moment is its block of H.
HWY_INLINE Rules descend_rules(const TileBlock& block, const Storage& storage, Rules rules,
                               const uint8_t* codes, const float* HWY_RESTRICT moment,
                               const float* HWY_RESTRICT row_sums, float* HWY_RESTRICT error,
                               float* HWY_RESTRICT gradient) {
  const F f;
  const int64_t size = block.format.group_size;
  alignas(64) Columns code;
  alignas(64) Columns by_code;  // H codes
  for (int64_t k = 0; k < size; ++k) {
    hn::Store(load_code(codes + k * kTileRows), f, code + k * kWidth);
    hn::Store(hn::Zero(f), f, by_code + k * kWidth);
  }
  propagate_group(code, moment, 0, size, 0, size, by_code);
  VF qq = hn::Zero(f), q = qq, n = qq, gq = qq, g = qq;
  for (int64_t k = 0; k < size; ++k) {
    const VF c = hn::Load(f, code + k * kWidth);
    const VF slope = hn::Load(f, gradient + k * kWidth);
    qq = hn::MulAdd(c, hn::Load(f, by_code + k * kWidth), qq);
    q = hn::Add(q, hn::Load(f, by_code + k * kWidth));
    n = hn::Add(n, hn::Set(f, row_sums[k]));
    gq = hn::MulAdd(c, slope, gq);
    g = hn::Add(g, slope);
  }
  // error' = error - scale' codes - bias': minimizes error'^T H error'.
  const VF determinant = hn::Sub(hn::Mul(qq, n), hn::Mul(q, q));
  const M some = hn::Gt(determinant, hn::Mul(hn::Set(f, 1e-5F), hn::Mul(qq, n)));
  const VF divisor = hn::IfThenElse(some, determinant, hn::Set(f, 1));
  const VF more_scale = hn::Div(hn::Sub(hn::Mul(gq, n), hn::Mul(g, q)), divisor);
  const VF more_bias = hn::Div(hn::Sub(hn::Mul(g, qq), hn::Mul(gq, q)), divisor);
  const Rules stored = {storage.round(hn::Add(rules.scale, more_scale)),
                        storage.round(hn::Add(rules.bias, more_bias))};
  const VF by_scale = hn::Sub(stored.scale, rules.scale);
  const VF by_bias = hn::Sub(stored.bias, rules.bias);
  // The change of the objective, for the rules as stored.
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
    hn::Store(hn::NegMulAdd(scale, hn::Load(f, by_code + k * kWidth),
                            hn::NegMulAdd(bias, hn::Set(f, row_sums[k]), hn::Load(f, slope))),
              f, slope);
  }
  return {hn::IfThenElse(take, stored.scale, rules.scale),
          hn::IfThenElse(take, stored.bias, rules.bias)};
}

/// Sets the codes of a group, one after the other, each to where the objective is least.
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
    // The best error, with all others fixed, is before - slope / H_kk; target = weight - that.
    const VF wanted = hn::NegMulAdd(slope, hn::Set(f, 1 / moment[k * kBlock + k]), before);
    const VF code = code_of(hn::Sub(weight, wanted), rules.bias, inverse, top);
    const VF after = hn::NegMulAdd(rules.scale, code, hn::Sub(weight, rules.bias));
    const VF change = hn::Sub(after, before);
    store_code(code, codes + k * kTileRows);
    hn::Store(after, f, error + k * kWidth);
    if (hn::AllTrue(f, hn::Eq(change, hn::Zero(f)))) continue;
    propagate(change, moment + k * kBlock, 0, size, gradient);
  }
}

/// step = inverse of U D U^T (the group's block of H) times gradient. @return gradient^T step: the
/// cost of the group's rounding, with all other groups fixed.
HWY_INLINE VF solve(const float* HWY_RESTRICT shares, const float* HWY_RESTRICT pivots,
                    int64_t size, const float* HWY_RESTRICT gradient, float* HWY_RESTRICT step) {
  const F f;
  VF cost = hn::Zero(f);
  alignas(64) Columns y;
  for (int64_t first = size - kTogether; first >= 0; first -= kTogether) {
    VF now[kTogether];
    for (int i = 0; i < kTogether; ++i) now[i] = hn::Load(f, gradient + (first + i) * kWidth);
    for (int64_t j = first + kTogether; j < size; ++j) {
      const VF known = hn::Load(f, y + j * kWidth);
      for (int i = 0; i < kTogether; ++i) {
        const VF share = hn::Set(f, shares[(first + i) * kBlock + j]);
        now[i] = hn::NegMulAdd(share, known, now[i]);
      }
    }
    for (int i = kTogether - 1; i >= 0; --i) {
      for (int j = i + 1; j < kTogether; ++j) {
        now[i] =
            hn::NegMulAdd(hn::Set(f, shares[(first + i) * kBlock + first + j]), now[j], now[i]);
      }
      hn::Store(now[i], f, y + (first + i) * kWidth);
    }
  }
  alignas(64) Columns minus;  // -step
  for (int64_t first = 0; first < size; first += kTogether) {
    VF now[kTogether];
    for (int i = 0; i < kTogether; ++i) {
      const VF whole = hn::Load(f, y + (first + i) * kWidth);
      now[i] = hn::Mul(whole, hn::Set(f, 1 / pivots[first + i]));
      cost = hn::MulAdd(whole, now[i], cost);
    }
    add_propagated(minus, shares, first, now);
    for (int i = 0; i < kTogether; ++i) {
      const VF negative = hn::Neg(now[i]);
      hn::Store(now[i], f, step + (first + i) * kWidth);
      hn::Store(negative, f, minus + (first + i) * kWidth);
      for (int j = i + 1; j < kTogether; ++j) {
        now[j] = hn::MulAdd(hn::Set(f, shares[(first + i) * kBlock + first + j]), negative, now[j]);
      }
    }
  }
  return cost;
}

/// Rounds a group anew with all others fixed: its target is the optimum without rounding, and it is
/// quantized with feedback within the group, on its grid, on a searched one, and on grids around
/// the better of the two. The result is taken if it is better than the current one. Updates error
/// and gradient.
HWY_INLINE Rules requantize(const DescentBlock& block, const Storage& storage, int64_t lane,
                            int64_t first, Rules rules, float* HWY_RESTRICT error,
                            float* HWY_RESTRICT gradient) {
  const F f;
  const int64_t size = block.format.group_size;
  const float* weights = block.weights + first * kTileRows + lane;
  const float* shares = block.feedback + first * kBlock + first;
  const float* pivots = block.pivots + first;
  alignas(64) Columns step;
  const VF now = solve(shares, pivots, size, gradient, step);
  alignas(64) Columns target;
  for (int64_t k = 0; k < size; ++k) {
    const VF decoded =
        hn::Sub(hn::LoadU(f, weights + k * kTileRows), hn::Load(f, error + k * kWidth));
    hn::Store(hn::Add(decoded, hn::Load(f, step + k * kWidth)), f, target + k * kWidth);
  }
  const GroupInput group = {size, storage.top, target, kWidth, shares, pivots};
  const Rules before = rules;
  QuantizedGroup result;
  QuantizedGroup other;
  Search search(target, block.importance + first, static_cast<int>(size), storage);
  const Rules searched = search.run(block.effort);
  quantize_two(group, rules, searched, target, result, other);
  take_better(group, storage, searched, other, rules, result);
  try_around(group, storage, block.tries, target, rules, result);
  const M better = hn::Lt(result.cost, hn::Mul(now, hn::Set(f, 0.9999F)));
  if (hn::AllFalse(f, better)) return before;
  for (int64_t k = 0; k < size; ++k) {
    const VF code = hn::Load(f, result.code + k * kWidth);
    const VF old = hn::Load(f, error + k * kWidth);
    const VF weight = hn::LoadU(f, weights + k * kTileRows);
    const VF made = hn::NegMulAdd(rules.scale, code, hn::Sub(weight, rules.bias));
    const VF next = hn::IfThenElse(better, made, old);
    uint8_t* to = block.codes + (first + k) * kTileRows + lane;
    store_code(hn::IfThenElse(better, code, load_code(to)), to);
    hn::Store(next, f, error + k * kWidth);
    hn::Store(hn::Sub(next, old), f, step + k * kWidth);
  }
  propagate_group(step, block.moment + first * kBlock + first, 0, size, 0, size, gradient);
  return {hn::IfThenElse(better, rules.scale, before.scale),
          hn::IfThenElse(better, rules.bias, before.bias)};
}

void descend_lanes(const DescentBlock& block) {
  const F f;
  const int64_t size = block.format.group_size;
  alignas(64) Columns gradient;
  alignas(64) Columns error;
  alignas(64) Columns change;
  for (int64_t lane = 0; lane < block.lanes; lane += kWidth) {
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
      if (block.feedback != nullptr) {
        rules = requantize(block, storage, lane, first, rules, error + first * kWidth,
                           gradient + first * kWidth);
      }
      rules = descend_rules(block, storage, rules, block.codes + at, moment, block.row_sums + first,
                            error + first * kWidth, gradient + first * kWidth);
      descend_codes(block, rules, block.weights + at, block.codes + at, moment,
                    error + first * kWidth, gradient + first * kWidth);
      store_rules(block, first / size, lane, rules);
      for (int64_t k = first; k < first + size; ++k) {
        const VF before = hn::Load(f, change + k * kWidth);
        hn::Store(hn::Sub(hn::Load(f, error + k * kWidth), before), f, change + k * kWidth);
      }
      propagate_group(change, block.moment, first, first + size, first + size, block.width,
                      gradient);
    }
    store_columns(error, block.width, block.error + lane);
    store_columns(change, block.width, block.change + lane);
  }
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(descend_lanes);

void descend_block(const DescentBlock& block) {
  HWY_DYNAMIC_DISPATCH(descend_lanes)(block);
}

}  // namespace ram
#endif
