// measure_distortion in plain C++: every operation of the vector version, in the same order.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "affine_ref.h"
#include "affine_rule.h"
#include "distortion.h"

namespace ram {
namespace {

using FloatLanes = std::array<float, kLanes>;

struct FloatBlock {
  std::array<float, kDistortionBlock> weights =
      {};  ///< zeros after the last weight, which add nothing
  std::array<FloatLanes, kFormatCount + 1> sums = {};
};

float round_to(float value, DType dtype) {
  if (dtype == DType::kBF16) return bf16_to_f32(f32_to_bf16(value));
  if (dtype == DType::kF16) return f16_to_f32(f32_to_f16(value));
  return value;
}

void add_group(FloatBlock& block, int64_t first, size_t f, const DistortionJob& job) {
  const AffineFormat format = kAffineFormats[f];
  const float* group = block.weights.data() + first;
  const auto [lo, hi] = std::minmax_element(group, group + format.group_size);
  const bool mlx = job.encoder == Encoder::kMlx;
  const GroupRule rule =
      mlx ? mlx_rule(*lo, *hi, format.bits) : reference_rule(*lo, *hi, format.bits);
  const float scale = mlx ? round_to(rule.scale, job.dtype) : rule.scale;
  const float inverse = 1 / rule.scale;
  const float rest = std::fma(-rule.scale, inverse, 1.0F) * inverse;
  for (int i = 0; i < format.group_size; ++i) {
    const float u = group[i] - rule.bias;
    const float steps = std::fma(u, inverse, u * rest);
    const float code = std::min(std::rint(steps), top_code(format.bits));
    const float error = std::fma(scale, code, -u);
    float& sum = block.sums[f][static_cast<size_t>(i % kLanes)];
    sum = std::fma(error, error, sum);
  }
}

/// @return false if the block is out of range: nothing was added then.
bool add_block(FloatBlock& block, const DistortionJob& job) {
  float magnitude = 0;
  for (const float weight : block.weights) magnitude = std::max(magnitude, std::abs(weight));
  if (!in_float_range(magnitude)) return false;
  block.sums = {};
  for (size_t i = 0; i < block.weights.size(); ++i) {
    float& sum = block.sums[kFormatCount][i % kLanes];
    sum = std::fma(block.weights[i], block.weights[i], sum);
  }
  for (size_t f = 0; f < kAffineFormats.size(); ++f) {
    if ((job.formats >> f & 1U) == 0) continue;
    for (int64_t first = 0; first < kDistortionBlock; first += kAffineFormats[f].group_size) {
      add_group(block, first, f, job);
    }
  }
  return true;
}

}  // namespace

Distortion DistortionLanes::total() const {
  Distortion sums = outside;
  for (size_t f = 0; f < lanes.size(); ++f) {
    double& sum = f == kFormatCount ? sums.sum_squares : sums.squared_error[f];
    for (const double lane : lanes[f]) sum += lane;
  }
  return sums;
}

void add_outside_block(const DistortionJob& job, int64_t first, Distortion& sums) {
  const int64_t count = std::min(kDistortionBlock, job.count - first);
  sums += distortion_truth(job.weights + first * dtype_bytes(job.source), job.source, 1, count,
                           job.formats, job.dtype, job.encoder);
}

Distortion distortion_plain(const DistortionJob& job) {
  DistortionLanes sums;
  FloatBlock block;
  const int64_t element = dtype_bytes(job.source);
  for (int64_t first = 0; first < job.count; first += kDistortionBlock) {
    const int64_t count = std::min(kDistortionBlock, job.count - first);
    block.weights.fill(0);
    to_f32(job.weights + first * element, job.source, count, block.weights.data());
    if (job.source != job.dtype) {
      for (float& weight : block.weights) weight = round_to(weight, job.dtype);
    }
    if (!add_block(block, job)) {
      add_outside_block(job, first, sums.outside);
      continue;
    }
    for (size_t f = 0; f < sums.lanes.size(); ++f) {
      for (size_t lane = 0; lane < kLanes; ++lane) {
        sums.lanes[f][lane] += static_cast<double>(block.sums[f][lane]);
      }
    }
  }
  return sums.total();
}

}  // namespace ram
