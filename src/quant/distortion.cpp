// The vectorized measure_distortion: all formats in one pass over the weights. distortion.h defines
// the order of the sums; distortion_plain.cpp is the same in plain C++.
#include "distortion.h"

#include "ram/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "distortion.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "groups-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

#if RAM_VECTOR_TARGET

static_assert(kBlockWeights == kDistortionBlock);
inline constexpr int kParts = kLanes / kWidth;  ///< vectors in the 16 lanes
inline constexpr int kRun = 128;                ///< weights held in registers at a time
inline constexpr int kRunVectors = kRun / kWidth;
inline constexpr int kWidths = 6;  ///< of codes: 2, 3, 4, 5, 6, 8 bits

/// Per group of one size: its bias, and for each width the factors between weights and codes.
struct GroupTable {
  alignas(64) float bias[kBlockGroups];
  alignas(64) float inverse[kWidths][kBlockGroups];  ///< 1 / scale ...
  alignas(64) float rest[kWidths][kBlockGroups];     ///< ... and the remainder
  alignas(64) float scale[kWidths][kBlockGroups];    ///< as stored
};

struct Block {
  alignas(64) float weights[kBlockWeights];
  GroupEnds ends;
  GroupTable table;
  alignas(64) float sums[kFormatCount + 1][kLanes];
};

HWY_INLINE void add_squares(Block& block) {
  const F f;
  VF sums[kParts];
  for (int part = 0; part < kParts; ++part) sums[part] = hn::Zero(f);
  for (int i = 0; i < kBlockWeights; i += kLanes) {
    for (int part = 0; part < kParts; ++part) {
      const VF w = hn::Load(f, block.weights + i + part * kWidth);
      sums[part] = hn::MulAdd(w, w, sums[part]);
    }
  }
  for (int part = 0; part < kParts; ++part) {
    hn::Store(sums[part], f, block.sums[kFormatCount] + part * kWidth);
  }
}

HWY_INLINE float greatest_magnitude(const Block& block) {
  const F f;
  VF magnitude = hn::Zero(f);
  for (int g = 0; g < kBlockGroups; g += kWidth) {
    magnitude = hn::Max(magnitude, hn::Max(hn::Abs(hn::Load(f, block.ends.lo + g)),
                                           hn::Abs(hn::Load(f, block.ends.hi + g))));
  }
  return hn::GetLane(hn::MaxOfLanes(f, magnitude));
}

/// The factors between weights and codes, for as many groups as a vector has lanes.
template <Encoder kEncoder>
HWY_INLINE void set_groups(Block& block, int first, DType dtype) {
  const F f;
  GroupTable& table = block.table;
  const VF lo = hn::Load(f, block.ends.lo + first);
  const VF hi = hn::Load(f, block.ends.hi + first);
  for (int width = 0; width < kWidths; ++width) {
    const VF top = hn::Set(f, top_code(kAffineFormats[static_cast<size_t>(width) * 3].bits));
    constexpr bool kMlx = kEncoder == Encoder::kMlx;
    const VectorRule rule = kMlx ? mlx_rules(lo, hi, top) : reference_rules(lo, hi, top);
    const VF inverse = hn::Div(hn::Set(f, 1.0F), rule.scale);
    const VF rest = hn::Mul(hn::NegMulAdd(rule.scale, inverse, hn::Set(f, 1.0F)), inverse);
    // The bias is the same for every width: the edge alone decides whether it is the edge or zero.
    hn::Store(rule.bias, f, table.bias + first);
    hn::Store(kMlx ? round_to(rule.scale, dtype) : rule.scale, f, table.scale[width] + first);
    hn::Store(inverse, f, table.inverse[width] + first);
    hn::Store(rest, f, table.rest[width] + first);
  }
}

/// Adds the squared errors of 128 weights in the formats of one group size.
template <int kGroupSize>
HWY_INLINE void add_run(Block& block, int run, uint32_t formats) {
  constexpr int kVectors = kGroupSize / kWidth;  // of a group
  constexpr int kGroups = kRun / kGroupSize;
  constexpr int kSize = kGroupSize == 32 ? 0 : kGroupSize == 64 ? 1 : 2;
  const F f;
  const GroupTable& table = block.table;
  const float* HWY_RESTRICT weights = block.weights + run * kRun;
  VF u[kRunVectors];
  for (int g = 0; g < kGroups; ++g) {
    const VF bias = hn::Set(f, table.bias[run * kGroups + g]);
    for (int v = 0; v < kVectors; ++v) {
      u[g * kVectors + v] = hn::Sub(hn::Load(f, weights + (g * kVectors + v) * kWidth), bias);
    }
  }
  for (int width = 0; width < kWidths; ++width) {
    const int format = width * 3 + kSize;
    if ((formats >> format & 1U) == 0) continue;
    const VF top = hn::Set(f, top_code(kAffineFormats[static_cast<size_t>(format)].bits));
    float* HWY_RESTRICT lanes = block.sums[format];
    VF sums[kParts];
    for (int part = 0; part < kParts; ++part) sums[part] = hn::Load(f, lanes + part * kWidth);
    for (int g = 0; g < kGroups; ++g) {
      const VF inverse = hn::Set(f, table.inverse[width][run * kGroups + g]);
      const VF rest = hn::Set(f, table.rest[width][run * kGroups + g]);
      const VF scale = hn::Set(f, table.scale[width][run * kGroups + g]);
      for (int v = 0; v < kVectors; ++v) {
        const VF x = u[g * kVectors + v];
        const VF steps = hn::MulAdd(x, inverse, hn::Mul(x, rest));
        const VF code = hn::Min(hn::Round(steps), top);
        const VF error = hn::MulSub(scale, code, x);
        sums[v % kParts] = hn::MulAdd(error, error, sums[v % kParts]);
      }
    }
    for (int part = 0; part < kParts; ++part) hn::Store(sums[part], f, lanes + part * kWidth);
  }
}

template <int kGroupSize, Encoder kEncoder>
HWY_INLINE void add_size(Block& block, const DistortionJob& job) {
  constexpr int kGroups = static_cast<int>(kBlockWeights) / kGroupSize;
  for (int first = 0; first < kGroups; first += kWidth) {
    set_groups<kEncoder>(block, first, job.dtype);
  }
  for (int run = 0; run < kBlockWeights / kRun; ++run) {
    add_run<kGroupSize>(block, run, job.formats);
  }
}

/// @return false if the block is out of range: nothing was added then.
template <Encoder kEncoder>
HWY_INLINE bool add_block(Block& block, const DistortionJob& job) {
  for (auto& lanes : block.sums) {
    for (float& lane : lanes) lane = 0;
  }
  find_ends(block.weights, block.ends);
  if (!in_float_range(greatest_magnitude(block))) return false;
  add_squares(block);
  add_size<32, kEncoder>(block, job);
  join_ends(block.ends, kBlockGroups);
  add_size<64, kEncoder>(block, job);
  join_ends(block.ends, kBlockGroups / 2);
  add_size<128, kEncoder>(block, job);
  return true;
}

void fill_block(Block& block, const DistortionJob& job, int64_t first) {
  const int64_t count = std::min(kDistortionBlock, job.count - first);
  const std::byte* weights = job.weights + first * (job.source == DType::kF32 ? 4 : 2);
  widen(weights, job.source, count, job.dtype, block.weights);
  for (int64_t i = count; i < kBlockWeights; ++i) block.weights[i] = 0;
}

Distortion distortion_vector(const DistortionJob& job) {
  DistortionLanes sums;
  Block block;
  for (int64_t first = 0; first < job.count; first += kDistortionBlock) {
    fill_block(block, job, first);
    const bool added = job.encoder == Encoder::kMlx ? add_block<Encoder::kMlx>(block, job)
                                                    : add_block<Encoder::kSimulated>(block, job);
    if (!added) {
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

#else

Distortion distortion_vector(const DistortionJob& job) {
  return distortion_plain(job);
}

#endif  // RAM_VECTOR_TARGET

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(distortion_vector);

Distortion measure_distortion(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                              uint32_t formats, DType dtype, Encoder encoder) {
  const DistortionJob job = {weights, source, rows * cols, formats, dtype, encoder};
  return HWY_DYNAMIC_DISPATCH(distortion_vector)(job);
}

}  // namespace ram
#endif
