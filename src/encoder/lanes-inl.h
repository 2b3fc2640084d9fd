// One scale and bias per lane: MLX's rule, rounding to the stored dtype, codes, and the search.
// Included once per target.
#if defined(RAM_ENCODER_LANES_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef RAM_ENCODER_LANES_INL_H
#undef RAM_ENCODER_LANES_INL_H
#else
#define RAM_ENCODER_LANES_INL_H
#endif

#include <cfloat>
#include <limits>

#include <hwy/highway.h>

#include "lanes.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::CappedTag<float, 16>;
using VF = hn::Vec<F>;
using M = hn::Mask<F>;
inline constexpr int kWidth = static_cast<int>(hn::MaxLanes(F()));

/// A scale and a bias per lane. Constructors are explicit because GCC does not compile implicit
/// ones for the target, and then cannot inline those of the vectors (NEON).
struct Rules {
  HWY_INLINE Rules() {}  // uninitialised, like a float
  HWY_INLINE Rules(VF a_scale, VF a_bias) : scale(a_scale), bias(a_bias) {}

  VF scale;
  VF bias;
};

HWY_INLINE VF round_to_bf16(VF value) {
  const hn::RebindToUnsigned<F> u;
  const auto bits = hn::BitCast(u, value);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
  const auto up = hn::Add(hn::Add(bits, hn::Set(u, 0x7fff)), odd);
  return hn::BitCast(F(), hn::And(up, hn::Set(u, 0xffff0000)));
}

/// Below 2^-14 the unit is 2^-24, which is the last bit of a float just above 0.5.
HWY_INLINE VF round_to_f16(VF value) {
  const F f;
  const hn::RebindToUnsigned<F> u;
  const auto bits = hn::BitCast(u, value);
  const auto odd = hn::And(hn::ShiftRight<13>(bits), hn::Set(u, 1));
  const auto up = hn::Add(hn::Add(bits, hn::Set(u, 0xfff)), odd);
  const VF normal = hn::BitCast(f, hn::AndNot(hn::Set(u, 0x1fff), up));
  const VF magnitude = hn::Abs(value);
  const VF half = hn::Set(f, 0.5F);
  const VF denormal = hn::CopySign(hn::Sub(hn::Add(magnitude, half), half), value);
  return hn::IfThenElse(hn::Lt(magnitude, hn::Set(f, 0x1p-14F)), denormal, normal);
}

/// Rounds to values of the dtype, in units of the lane.
struct Storage {
  VF unit;
  VF per_unit;  ///< 1 / unit
  DType dtype;
  float top;  ///< the greatest code

  HWY_INLINE VF round(VF value) const {
    const VF real = hn::Mul(value, unit);
    if (dtype == DType::kBF16) return hn::Mul(round_to_bf16(real), per_unit);
    if (dtype == DType::kF16) return hn::Mul(round_to_f16(real), per_unit);
    return hn::Mul(real, per_unit);
  }

  /// The greatest value of the dtype, in units of the lane; infinite if beyond float32.
  HWY_INLINE VF greatest() const {
    float most = std::numeric_limits<float>::max();
    if (dtype == DType::kBF16) most = 0x1.FEp127F;
    if (dtype == DType::kF16) most = 65504;
    return hn::Mul(hn::Set(F(), most), per_unit);
  }

  /// Lanes whose decoded values are all within the dtype. Comparisons are false for NaN.
  HWY_INLINE M fits(Rules rules) const {
    const F f;
    const VF limit = greatest();
    const VF range = hn::Mul(rules.scale, hn::Set(f, top));
    return hn::And(hn::And(hn::Le(hn::Abs(rules.bias), limit), hn::Le(hn::Abs(range), limit)),
                   hn::Le(hn::Abs(hn::Add(rules.bias, range)), limit));
  }
};

/// 1 / scale, or 0 if that would be infinite: then every code is 0.
HWY_INLINE VF inverse_of(VF scale) {
  const F f;
  const M none = hn::Lt(hn::Abs(scale), hn::Set(f, FLT_MIN));
  return hn::IfThenZeroElse(none,
                            hn::Div(hn::Set(f, 1), hn::IfThenElse(none, hn::Set(f, 1), scale)));
}

/// The nearest code of `value`.
HWY_INLINE VF code_of(VF value, VF bias, VF inverse, VF top) {
  const VF steps = hn::Round(hn::Mul(hn::Sub(value, bias), inverse));
  return hn::Min(hn::Max(steps, hn::Zero(F())), top);
}

/// MLX's rule from any two ends: zero has a code. @source docs/formats/affine.md
HWY_INLINE Rules rule_with_zero(VF lo, VF hi, VF top, VF least) {
  const F f;
  const M low_edge = hn::Gt(hn::Abs(lo), hn::Abs(hi));
  const VF edge = hn::IfThenElse(low_edge, lo, hi);
  const VF step = hn::Max(hn::Div(hn::Sub(hi, lo), top), least);
  const VF signed_step = hn::IfThenElse(low_edge, step, hn::Neg(step));
  const VF steps = hn::Round(hn::Div(edge, signed_step));
  const M none = hn::Eq(steps, hn::Zero(f));
  const VF divisor = hn::IfThenElse(none, hn::Set(f, 1), steps);
  return {hn::IfThenElse(none, signed_step, hn::Div(edge, divisor)),
          hn::IfThenZeroElse(none, edge)};
}

/// The search for one group in each lane.
class Search {
 public:
  /// @param values [size, kWidth], importance [size].
  HWY_INLINE Search(const float* values, const float* importance, int size, const Storage& storage)
      : values_(values),
        importance_(importance),
        size_(size),
        storage_(storage),
        top_(hn::Set(F(), storage.top)),
        error_(hn::Set(F(), std::numeric_limits<float>::infinity())) {
    const F f;
    lo_ = hn::Load(f, values);
    hi_ = lo_;
    for (int i = 1; i < size; ++i) {
      lo_ = hn::Min(lo_, hn::Load(f, values + i * kWidth));
      hi_ = hn::Max(hi_, hn::Load(f, values + i * kWidth));
    }
    // The plain grid is always a candidate; if its range would overflow, a little less than half of
    // it, from the low end. Ends beyond the dtype occur when feedback has changed the weights.
    const VF limit = storage.greatest();
    lo_ = hn::Max(lo_, hn::Neg(limit));
    hi_ = hn::Max(lo_, hn::Min(hi_, limit));
    best_ = {storage_.round(hn::Sub(hn::Div(hi_, top_), hn::Div(lo_, top_))), storage_.round(lo_)};
    const M fits = storage_.fits(best_);
    best_.scale = hn::IfThenElse(fits, best_.scale, hn::Mul(best_.scale, hn::Set(f, 0.499F)));
  }

  HWY_INLINE Rules run(const SearchEffort& effort) {
    const F f;
    offer(rule_with_zero(lo_, hi_, top_, hn::Mul(hn::Set(f, 1e-7F), storage_.per_unit)));
    if (effort.share == 0) return best_;
    const VF step = hn::Mul(hn::Sub(hi_, lo_), hn::Set(f, effort.share / storage_.top));
    for (int i = -effort.outward; i <= effort.inward; ++i) {
      const VF lo = hn::MulAdd(step, hn::Set(f, static_cast<float>(i)), lo_);
      for (int j = -effort.outward; j <= effort.inward; ++j) {
        const VF hi = hn::NegMulAdd(step, hn::Set(f, static_cast<float>(j)), hi_);
        offer({hn::Sub(hn::Div(hi, top_), hn::Div(lo, top_)), lo});
      }
    }
    for (int round = 0; round < effort.least_squares; ++round) {
      if (!offer(least_squares(sums(), 1))) break;
    }
    // Stored values are rounded: the best stored scale is often not the nearest to the
    // least-squares scale.
    for (int repeat = 0; repeat < effort.repeats; ++repeat) {
      const Sums known = sums();
      for (int i = 1; i <= effort.neighbors; ++i) {
        offer(least_squares(known, 1 - static_cast<float>(i) * effort.spacing));
        offer(least_squares(known, 1 + static_cast<float>(i) * effort.spacing));
      }
      offer(least_squares(sums(), 1));
    }
    return best_;
  }

 private:
  /// Rounds the rules and takes them in the lanes where they are better. @return whether there are
  /// any.
  HWY_INLINE bool offer(Rules rules) {
    const F f;
    const Rules stored = {storage_.round(rules.scale), storage_.round(rules.bias)};
    const VF inverse = inverse_of(stored.scale);
    VF sum0 = hn::Zero(f);
    VF sum1 = hn::Zero(f);
    for (int i = 0; i < size_; i += 2) {
      sum0 = add_error(i, stored, inverse, sum0);
      sum1 = add_error(i + 1, stored, inverse, sum1);
    }
    const VF sum = hn::Add(sum0, sum1);
    const M better = hn::And(hn::Lt(sum, error_), storage_.fits(stored));
    error_ = hn::IfThenElse(better, sum, error_);
    best_.scale = hn::IfThenElse(better, stored.scale, best_.scale);
    best_.bias = hn::IfThenElse(better, stored.bias, best_.bias);
    return !hn::AllFalse(f, better);
  }

  HWY_INLINE VF add_error(int i, Rules rules, VF inverse, VF sum) const {
    const F f;
    const VF value = hn::Load(f, values_ + i * kWidth);
    const VF from = hn::Sub(value, rules.bias);
    const VF steps = hn::Round(hn::Mul(from, inverse));
    const VF code = hn::Min(hn::Max(steps, hn::Zero(f)), top_);
    const VF error = hn::NegMulAdd(rules.scale, code, from);
    return hn::MulAdd(hn::Mul(error, error), hn::Set(f, importance_[i]), sum);
  }

  /// Sums over a group, times importance: of 1, codes, their squares, weights above lo_, codes
  /// times those.
  struct Sums {
    VF n, q, qq, w, qw;
  };

  /// For the best rules' codes.
  HWY_INLINE Sums sums() const {
    const F f;
    const VF inverse = inverse_of(best_.scale);
    const VF zero = hn::Zero(f);
    Sums sums = {zero, zero, zero, zero, zero};
    for (int i = 0; i < size_; ++i) {
      const VF value = hn::Load(f, values_ + i * kWidth);
      const VF code = code_of(value, best_.bias, inverse, top_);
      const VF from = hn::Sub(value, lo_);
      const VF m = hn::Set(f, importance_[i]);
      const VF weighted = hn::Mul(m, code);
      sums.n = hn::Add(sums.n, m);
      sums.q = hn::Add(sums.q, weighted);
      sums.qq = hn::MulAdd(weighted, code, sums.qq);
      sums.w = hn::MulAdd(m, from, sums.w);
      sums.qw = hn::MulAdd(weighted, from, sums.qw);
    }
    return sums;
  }

  /// The least-squares scale times `factor`, as stored, and the best bias for it.
  HWY_INLINE Rules least_squares(const Sums& s, float factor) const {
    const F f;
    const VF determinant = hn::Sub(hn::Mul(s.n, s.qq), hn::Mul(s.q, s.q));
    const M none = hn::Le(determinant, hn::Mul(hn::Set(f, 1e-6F), hn::Mul(s.n, s.qq)));
    const VF divisor = hn::IfThenElse(none, hn::Set(f, 1), determinant);
    const VF least = hn::Div(hn::Sub(hn::Mul(s.n, s.qw), hn::Mul(s.q, s.w)), divisor);
    const VF scale = storage_.round(hn::Mul(least, hn::Set(f, factor)));
    const VF bias = hn::Add(hn::Div(hn::NegMulAdd(scale, s.q, s.w), s.n), lo_);
    return {hn::IfThenElse(none, best_.scale, scale), hn::IfThenElse(none, best_.bias, bias)};
  }

  const float* values_;
  const float* importance_;
  int size_;
  const Storage& storage_;
  VF top_;
  VF lo_;
  VF hi_;
  VF error_;
  Rules best_;
};

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // include guard
