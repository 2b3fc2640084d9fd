// The sums of logit_sums.h, in vectors of doubles.
#include "logit_sums.h"

#include "ram/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "logit_sums.cpp"
#include <algorithm>

#include <hwy/foreach_target.h>
// After foreach_target, which compiles this file again for each target: hence a separate group.
#include <hwy/contrib/math/math-inl.h>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<double, 8>;
using F = hn::Rebind<float, D>;
inline constexpr int64_t kLanes = static_cast<int64_t>(hn::MaxLanes(D()));

HWY_INLINE hn::Vec<D> load(const float* logits) {
  return hn::PromoteTo(D(), hn::LoadU(F(), logits));
}

float greatest(const float* logits, int64_t count) {
  const hn::CappedTag<float, 16> f;
  constexpr auto kWidth = static_cast<int64_t>(hn::MaxLanes(f));
  float most = logits[0];
  int64_t i = 0;
  if (count >= kWidth) {
    auto lanes = hn::LoadU(f, logits);
    for (i = kWidth; i + kWidth <= count; i += kWidth) {
      lanes = hn::Max(lanes, hn::LoadU(f, logits + i));
    }
    most = hn::GetLane(hn::MaxOfLanes(f, lanes));
  }
  for (; i < count; ++i) most = std::max(most, logits[i]);
  return most;
}

/// exp(logits[i] - shift) into out. @return their sum.
double exponentials(const float* logits, int64_t count, double shift, double* HWY_RESTRICT out) {
  const D d;
  const auto shifts = hn::Set(d, shift);
  auto sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const auto value = hn::Exp(d, hn::Sub(load(logits + i), shifts));
    sum = hn::Add(sum, value);
    hn::Store(value, d, out + i);
  }
  double total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) {
    out[i] = std::exp(static_cast<double>(logits[i]) - shift);
    total += out[i];
  }
  return total;
}

/// Sum of weights[i] * (a[i] - b[i]).
double weighted_difference(const double* HWY_RESTRICT weights, const float* a, const float* b,
                           int64_t count) {
  const D d;
  auto sum = hn::Zero(d);
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    sum = hn::MulAdd(hn::Load(d, weights + i), hn::Sub(load(a + i), load(b + i)), sum);
  }
  double total = hn::GetLane(hn::SumOfLanes(d, sum));
  for (; i < count; ++i) {
    total += weights[i] * (static_cast<double>(a[i]) - static_cast<double>(b[i]));
  }
  return total;
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(greatest);
HWY_EXPORT(exponentials);
HWY_EXPORT(weighted_difference);

namespace {

constexpr int64_t kChunk = 256;

// Makes `sum` relative to the largest logit of it and of this piece. @return the factor for sums
// relative to the former largest.
double raise(LogitSum& sum, const float* logits, int64_t first_id, int64_t count) {
  const float most = HWY_DYNAMIC_DISPATCH(greatest)(logits, count);
  if (!(most > sum.largest)) return 1;
  const double factor =
      std::exp(static_cast<double>(sum.largest) - static_cast<double>(most));  // 0 initially
  sum.largest = most;
  sum.likeliest =
      static_cast<int32_t>(first_id + (std::find(logits, logits + count, most) - logits));
  sum.sum *= factor;
  return factor;
}

}  // namespace

void add_logits(LogitSum& sum, const float* logits, int64_t first_id, int64_t count) {
  add_logits_of_all(&sum, nullptr, &logits, 0, first_id, count);
}

void add_logits_of_all(LogitSum* sums, double* cross, const float* const* logits, int models,
                       int64_t first_id, int64_t count) {
  const double factor = raise(sums[0], logits[0], first_id, count);
  for (int m = 0; m < models; ++m) {
    cross[m] *= factor;
    raise(sums[1 + m], logits[1 + m], first_id, count);
  }
  alignas(64) double weights[kChunk];
  alignas(64) double unused[kChunk];
  for (int64_t begin = 0; begin < count; begin += kChunk) {
    const int64_t size = std::min(kChunk, count - begin);
    const float* a = logits[0] + begin;
    sums[0].sum += HWY_DYNAMIC_DISPATCH(exponentials)(a, size, sums[0].largest, weights);
    for (int m = 0; m < models; ++m) {
      const float* b = logits[1 + m] + begin;
      LogitSum& sum = sums[1 + m];
      sum.sum += HWY_DYNAMIC_DISPATCH(exponentials)(b, size, sum.largest, unused);
      cross[m] += HWY_DYNAMIC_DISPATCH(weighted_difference)(weights, a, b, size);
    }
  }
}

}  // namespace ram
#endif  // HWY_ONCE
