#include "cpu/kernels.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ram/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "cpu/kernels.cpp"
// foreach_target must come first.
// clang-format off
#include <hwy/foreach_target.h>
#include <hwy/highway.h>
#include <hwy/contrib/math/math-inl.h>
// clang-format on

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using F = hn::ScalableTag<float>;
using VF = hn::Vec<F>;

/// Applies a function of vectors to x; the remainder goes through a padded copy.
template <typename Function>
HWY_INLINE void for_each_vector(float* HWY_RESTRICT x, int64_t count, const Function& function) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) hn::StoreU(function(hn::LoadU(f, x + i), i), f, x + i);
  if (i < count) {
    HWY_ALIGN float rest[hn::MaxLanes(F())] = {};
    for (int64_t j = i; j < count; ++j) rest[j - i] = x[j];
    hn::Store(function(hn::Load(f, rest), i), f, rest);
    for (int64_t j = i; j < count; ++j) x[j] = rest[j - i];
  }
}

/// Loads y[i..] in the way for_each_vector passes x: padded at the end.
struct Padded {
  const float* data;
  int64_t count;
  HWY_INLINE VF load(int64_t i) const {
    const F f;
    const auto lanes = static_cast<int64_t>(hn::Lanes(f));
    if (i + lanes <= count) return hn::LoadU(f, data + i);
    HWY_ALIGN float rest[hn::MaxLanes(F())] = {};
    for (int64_t j = i; j < count; ++j) rest[j - i] = data[j];
    return hn::Load(f, rest);
  }
};

HWY_INLINE float dot_product(const float* HWY_RESTRICT x, const float* HWY_RESTRICT y,
                             int64_t count) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  VF a = hn::Zero(f);
  VF b = hn::Zero(f);
  VF c = hn::Zero(f);
  VF d = hn::Zero(f);
  int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    a = hn::MulAdd(hn::LoadU(f, x + i), hn::LoadU(f, y + i), a);
    b = hn::MulAdd(hn::LoadU(f, x + i + lanes), hn::LoadU(f, y + i + lanes), b);
    c = hn::MulAdd(hn::LoadU(f, x + i + 2 * lanes), hn::LoadU(f, y + i + 2 * lanes), c);
    d = hn::MulAdd(hn::LoadU(f, x + i + 3 * lanes), hn::LoadU(f, y + i + 3 * lanes), d);
  }
  const Padded px{x, count};
  const Padded py{y, count};
  for (; i < count; i += lanes) a = hn::MulAdd(px.load(i), py.load(i), a);
  return hn::GetLane(hn::SumOfLanes(f, hn::Add(hn::Add(a, b), hn::Add(c, d))));
}

float dot_vector(const float* x, const float* y, int64_t count) {
  return dot_product(x, y, count);
}

/// out[0..3] = the sums of the lanes of a, b, c, d.
HWY_INLINE void store_four_sums(VF a, VF b, VF c, VF d, float* out) {
  const F f;
#if HWY_TARGET == HWY_SCALAR || HWY_HAVE_SCALABLE
  out[0] = hn::GetLane(hn::SumOfLanes(f, a));
  out[1] = hn::GetLane(hn::SumOfLanes(f, b));
  out[2] = hn::GetLane(hn::SumOfLanes(f, c));
  out[3] = hn::GetLane(hn::SumOfLanes(f, d));
#else
  // In each block of four lanes: sums of two lanes, then the block's sums of a, b, c and d.
  const hn::Repartition<double, F> pairs;
  const VF ab = hn::Add(hn::InterleaveLower(f, a, b), hn::InterleaveUpper(f, a, b));
  const VF cd = hn::Add(hn::InterleaveLower(f, c, d), hn::InterleaveUpper(f, c, d));
  const auto ab2 = hn::BitCast(pairs, ab);
  const auto cd2 = hn::BitCast(pairs, cd);
  const VF low = hn::BitCast(f, hn::InterleaveLower(pairs, ab2, cd2));
  const VF high = hn::BitCast(f, hn::InterleaveUpper(pairs, ab2, cd2));
  HWY_ALIGN float blocks[hn::MaxLanes(F())];
  hn::Store(hn::Add(low, high), f, blocks);
  const hn::FixedTag<float, 4> four;
  auto sum = hn::Load(four, blocks);
  for (size_t i = 4; i < hn::Lanes(f); i += 4) sum = hn::Add(sum, hn::Load(four, blocks + i));
  hn::StoreU(sum, four, out);
#endif
}

void dot_rows_vector(const float* x, const float* y, int64_t stride, int64_t rows, int64_t count,
                     float* out) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  const int64_t whole = count / lanes * lanes;
  int64_t j = 0;
  for (; j + 4 <= rows && whole == count; j += 4) {
    const float* from = y + j * stride;
    VF a = hn::Zero(f);
    VF b = hn::Zero(f);
    VF c = hn::Zero(f);
    VF d = hn::Zero(f);
    for (int64_t i = 0; i < count; i += lanes) {
      const VF value = hn::LoadU(f, x + i);
      a = hn::MulAdd(value, hn::LoadU(f, from + i), a);
      b = hn::MulAdd(value, hn::LoadU(f, from + stride + i), b);
      c = hn::MulAdd(value, hn::LoadU(f, from + 2 * stride + i), c);
      d = hn::MulAdd(value, hn::LoadU(f, from + 3 * stride + i), d);
    }
    store_four_sums(a, b, c, d, out + j);
  }
  for (; j < rows; ++j) out[j] = dot_product(x, y + j * stride, count);
}

void add_weighted_vector(const float* scales, const float* y, int64_t stride, int64_t rows,
                         int64_t count, float* out) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  int64_t i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    VF a = hn::LoadU(f, out + i);
    VF b = hn::LoadU(f, out + i + lanes);
    VF c = hn::LoadU(f, out + i + 2 * lanes);
    VF d = hn::LoadU(f, out + i + 3 * lanes);
    for (int64_t j = 0; j < rows; ++j) {
      const VF scale = hn::Set(f, scales[j]);
      const float* from = y + j * stride + i;
      a = hn::MulAdd(scale, hn::LoadU(f, from), a);
      b = hn::MulAdd(scale, hn::LoadU(f, from + lanes), b);
      c = hn::MulAdd(scale, hn::LoadU(f, from + 2 * lanes), c);
      d = hn::MulAdd(scale, hn::LoadU(f, from + 3 * lanes), d);
    }
    hn::StoreU(a, f, out + i);
    hn::StoreU(b, f, out + i + lanes);
    hn::StoreU(c, f, out + i + 2 * lanes);
    hn::StoreU(d, f, out + i + 3 * lanes);
  }
  for (; i < count; i += lanes) {
    const int64_t left = std::min(lanes, count - i);
    VF sum = Padded{out, count}.load(i);
    for (int64_t j = 0; j < rows; ++j) {
      sum = hn::MulAdd(hn::Set(f, scales[j]), Padded{y + j * stride, count}.load(i), sum);
    }
    HWY_ALIGN float rest[hn::MaxLanes(F())];
    hn::Store(sum, f, rest);
    std::copy_n(rest, left, out + i);
  }
}

void rms_norm_vector(const float* x, const float* weight, int64_t count, float epsilon,
                     float* out) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  const float mean = dot_product(x, x, count) / static_cast<float>(count);
  const VF scale = hn::Set(f, 1.0F / std::sqrt(mean + epsilon));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    hn::StoreU(hn::Mul(hn::Mul(hn::LoadU(f, x + i), scale), hn::LoadU(f, weight + i)), f, out + i);
  }
  for (; i < count; ++i) out[i] = x[i] * hn::GetLane(scale) * weight[i];
}

void rotate_vector(float* HWY_RESTRICT x, const float* HWY_RESTRICT cosines,
                   const float* HWY_RESTRICT sines, int64_t dim) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  const int64_t half = dim / 2;
  float* HWY_RESTRICT y = x + half;
  int64_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const VF a = hn::LoadU(f, x + i);
    const VF b = hn::LoadU(f, y + i);
    const VF cosine = hn::LoadU(f, cosines + i);
    const VF sine = hn::LoadU(f, sines + i);
    hn::StoreU(hn::NegMulAdd(b, sine, hn::Mul(a, cosine)), f, x + i);
    hn::StoreU(hn::MulAdd(a, sine, hn::Mul(b, cosine)), f, y + i);
  }
  for (; i < half; ++i) {
    const float a = x[i];
    const float b = y[i];
    x[i] = a * cosines[i] - b * sines[i];
    y[i] = b * cosines[i] + a * sines[i];
  }
}

void gate_vector(float* gate, const float* up, int64_t count) {
  const F f;
  const Padded ups{up, count};
  const VF one = hn::Set(f, 1.0F);
  for_each_vector(gate, count, [&](VF x, int64_t i) HWY_ATTR {
    const VF silu = hn::Div(x, hn::Add(one, hn::CallExp(f, hn::Neg(x))));
    return hn::Mul(silu, ups.load(i));
  });
}

// silu(g) = g s with s = sigmoid(g); its derivative is s + g s (1 - s).
void gate_back_vector(const float* gate, const float* up, const float* dy, int64_t count,
                      float* dgate, float* dup) {
  const F f;
  const Padded gates{gate, count};
  const Padded ups{up, count};
  const VF one = hn::Set(f, 1.0F);
  std::memcpy(dgate, dy, static_cast<size_t>(count) * 4);
  std::memcpy(dup, dy, static_cast<size_t>(count) * 4);
  for_each_vector(dup, count, [&](VF gradient, int64_t i) HWY_ATTR {
    const VF g = gates.load(i);
    return hn::Mul(gradient, hn::Div(g, hn::Add(one, hn::CallExp(f, hn::Neg(g)))));
  });
  for_each_vector(dgate, count, [&](VF gradient, int64_t i) HWY_ATTR {
    const VF g = gates.load(i);
    const VF s = hn::Div(one, hn::Add(one, hn::CallExp(f, hn::Neg(g))));
    const VF slope = hn::MulAdd(hn::Mul(g, s), hn::Sub(one, s), s);
    return hn::Mul(hn::Mul(gradient, ups.load(i)), slope);
  });
}

float largest_vector(const float* x, int64_t count) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  VF most = hn::Set(f, -HUGE_VALF);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) most = hn::Max(most, hn::LoadU(f, x + i));
  float largest = hn::GetLane(hn::MaxOfLanes(f, most));
  for (; i < count; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

float sum_exp_vector(const float* x, int64_t count, float shift) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  const VF by = hn::Set(f, shift);
  VF sum = hn::Zero(f);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    sum = hn::Add(sum, hn::CallExp(f, hn::Sub(hn::LoadU(f, x + i), by)));
  }
  float total = hn::GetLane(hn::SumOfLanes(f, sum));
  for (; i < count; ++i) total += hn::GetLane(hn::CallExp(f, hn::Set(f, x[i] - shift)));
  return total;
}

void negative_exp_vector(float* x, int64_t count, float shift) {
  const VF by = hn::Set(F(), shift);
  for_each_vector(x, count, [&](VF value, int64_t) HWY_ATTR {
    return hn::Neg(hn::CallExp(F(), hn::Sub(value, by)));
  });
}

void softmax_vector(float* x, int64_t count, float scale) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  const float largest = largest_vector(x, count);
  const VF shift = hn::Set(f, largest);
  const VF by = hn::Set(f, scale);
  VF sum = hn::Zero(f);
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const VF value = hn::CallExp(f, hn::Mul(by, hn::Sub(hn::LoadU(f, x + i), shift)));
    hn::StoreU(value, f, x + i);
    sum = hn::Add(sum, value);
  }
  float total = hn::GetLane(hn::SumOfLanes(f, sum));
  for (; i < count; ++i) {
    x[i] = hn::GetLane(hn::CallExp(f, hn::Set(f, scale * (x[i] - largest))));
    total += x[i];
  }
  const VF share = hn::Set(f, 1.0F / total);
  for_each_vector(x, count, [&](VF value, int64_t) HWY_ATTR { return hn::Mul(value, share); });
}

void add_scaled_vector(float* x, const float* y, float scale, int64_t count) {
  const F f;
  const Padded ys{y, count};
  const VF by = hn::Set(f, scale);
  for_each_vector(x, count,
                  [&](VF value, int64_t i) HWY_ATTR { return hn::MulAdd(by, ys.load(i), value); });
}

void scale_vector(float* x, float scale, int64_t count) {
  const VF by = hn::Set(F(), scale);
  for_each_vector(x, count, [&](VF value, int64_t) HWY_ATTR { return hn::Mul(value, by); });
}

void round_vector(float* x, int64_t count) {
  const F f;
  const hn::RebindToUnsigned<F> u;
  for_each_vector(x, count, [&](VF value, int64_t) HWY_ATTR {
    const auto bits = hn::BitCast(u, value);
    const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(u, 1));
    const auto up = hn::Add(hn::Add(bits, hn::Set(u, 0x7fff)), odd);
    return hn::BitCast(f, hn::And(up, hn::Set(u, 0xffff0000)));
  });
}

void narrow_vector(const float* x, int64_t count, uint16_t* out) {
  const F f;
  const hn::RebindToUnsigned<F> u;
  const hn::Rebind<uint16_t, F> half;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  int64_t i = 0;
  for (; i + lanes <= count; i += lanes) {
    const auto upper = hn::ShiftRight<16>(hn::BitCast(u, hn::LoadU(f, x + i)));
    hn::StoreU(hn::TruncateTo(half, upper), half, out + i);
  }
  for (; i < count; ++i) {
    out[i] =
        static_cast<uint16_t>(hn::GetLane(hn::ShiftRight<16>(hn::BitCast(u, hn::Set(f, x[i])))));
  }
}

int64_t find_non_finite_vector(const float* x, int64_t count) {
  const F f;
  const auto lanes = static_cast<int64_t>(hn::Lanes(f));
  int64_t i = 0;
  // x - x is 0 for finite numbers and NaN for all others.
  for (; i + lanes <= count; i += lanes) {
    const VF value = hn::LoadU(f, x + i);
    const VF difference = hn::Sub(value, value);
    if (!hn::AllTrue(f, hn::Eq(difference, hn::Zero(f)))) break;
  }
  for (; i < count; ++i) {
    if (!std::isfinite(x[i])) return i;
  }
  return -1;
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(rms_norm_vector);
HWY_EXPORT(rotate_vector);
HWY_EXPORT(gate_vector);
HWY_EXPORT(gate_back_vector);
HWY_EXPORT(softmax_vector);
HWY_EXPORT(largest_vector);
HWY_EXPORT(sum_exp_vector);
HWY_EXPORT(negative_exp_vector);
HWY_EXPORT(add_scaled_vector);
HWY_EXPORT(scale_vector);
HWY_EXPORT(round_vector);
HWY_EXPORT(narrow_vector);
HWY_EXPORT(find_non_finite_vector);
HWY_EXPORT(dot_vector);
HWY_EXPORT(dot_rows_vector);
HWY_EXPORT(add_weighted_vector);

void rms_norm_row(const float* x, const float* weight, int64_t count, float epsilon, float* out) {
  HWY_DYNAMIC_DISPATCH(rms_norm_vector)(x, weight, count, epsilon, out);
}

void rotate_head(float* x, const float* cosines, const float* sines, int64_t dim) {
  HWY_DYNAMIC_DISPATCH(rotate_vector)(x, cosines, sines, dim);
}

void gate_row(float* gate, const float* up, int64_t count) {
  HWY_DYNAMIC_DISPATCH(gate_vector)(gate, up, count);
}

void gate_back_row(const float* gate, const float* up, const float* dy, int64_t count, float* dgate,
                   float* dup) {
  HWY_DYNAMIC_DISPATCH(gate_back_vector)(gate, up, dy, count, dgate, dup);
}

float largest_of_row(const float* x, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(largest_vector)(x, count);
}

float sum_exp_row(const float* x, int64_t count, float shift) {
  return HWY_DYNAMIC_DISPATCH(sum_exp_vector)(x, count, shift);
}

void negative_exp_row(float* x, int64_t count, float shift) {
  HWY_DYNAMIC_DISPATCH(negative_exp_vector)(x, count, shift);
}

void softmax_row(float* x, int64_t count, float scale) {
  HWY_DYNAMIC_DISPATCH(softmax_vector)(x, count, scale);
}

void add_scaled_row(float* x, const float* y, float scale, int64_t count) {
  HWY_DYNAMIC_DISPATCH(add_scaled_vector)(x, y, scale, count);
}

void scale_row(float* x, float scale, int64_t count) {
  HWY_DYNAMIC_DISPATCH(scale_vector)(x, scale, count);
}

void round_row_to_bf16(float* x, int64_t count) {
  HWY_DYNAMIC_DISPATCH(round_vector)(x, count);
}

void narrow_row_to_bf16(const float* x, int64_t count, uint16_t* out) {
  HWY_DYNAMIC_DISPATCH(narrow_vector)(x, count, out);
}

int64_t find_non_finite_float(const float* x, int64_t count) {
  return HWY_DYNAMIC_DISPATCH(find_non_finite_vector)(x, count);
}

void dot_rows(const float* x, const float* y, int64_t stride, int64_t rows, int64_t count,
              float* out) {
  HWY_DYNAMIC_DISPATCH(dot_rows_vector)(x, y, stride, rows, count, out);
}

void add_weighted_rows(const float* scales, const float* y, int64_t stride, int64_t rows,
                       int64_t count, float* out) {
  HWY_DYNAMIC_DISPATCH(add_weighted_vector)(scales, y, stride, rows, count, out);
}

double dot_in_double(const float* x, const float* y, int64_t count) {
  constexpr int64_t kAtOnce = 256;
  double sum = 0;
  for (int64_t i = 0; i < count; i += kAtOnce) {
    sum += HWY_DYNAMIC_DISPATCH(dot_vector)(x + i, y + i, std::min(kAtOnce, count - i));
  }
  return sum;
}

}  // namespace ram
#endif  // HWY_ONCE
