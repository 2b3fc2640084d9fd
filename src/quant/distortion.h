// What the two versions of measure_distortion share: blocks and lanes, and thus the order of every
// sum. Both give the same bits on every machine.
//
// Weights are taken 2048 at a time, as float32. Weight i of a block is added in lane i % 16, in
// order, in float32; at the end of the block the lanes are added to 16 lanes of doubles, which are
// added up at the end. A code is chosen as rint(u * (1 / scale)), u = weight - bias, with 1 / scale
// to 48 bits in two floats: that rounds to the same float as the division, ties included (bf16
// weights tie often).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "ram/quant.h"

namespace ram {

inline constexpr int kLanes = 16;
inline constexpr int64_t kDistortionBlock = 2048;

/// A block whose greatest magnitude is outside this range is left to distortion_truth: its squares
/// could overflow or vanish in float32.
inline constexpr float kLeastMagnitude = 0x1p-50F;
inline constexpr float kGreatestMagnitude = 0x1p55F;

/// True if the fast path applies to a block of this greatest magnitude.
constexpr bool in_float_range(float magnitude) {
  return magnitude == 0 || (magnitude >= kLeastMagnitude && magnitude <= kGreatestMagnitude);
}

/// The matrix as one row: a group never crosses the end of a row, so rows do not matter.
struct DistortionJob {
  const std::byte* weights = nullptr;
  DType source = DType::kBF16;
  int64_t count = 0;
  uint32_t formats = 0;
  DType dtype = DType::kBF16;
  Encoder encoder = Encoder::kMlx;
};

/// Running sums: one row of lanes per format, and the last for the squares of the weights.
struct DistortionLanes {
  alignas(64) std::array<std::array<double, kLanes>, kFormatCount + 1> lanes = {};
  Distortion outside;  ///< of the blocks to which the fast path does not apply

  Distortion total() const;
};

/// Adds the block that starts at `first` by distortion_truth.
void add_outside_block(const DistortionJob& job, int64_t first, Distortion& sums);

/// In plain C++ with std::fma, for machines without fused multiply-add vectors, and for tests.
Distortion distortion_plain(const DistortionJob& job);

}  // namespace ram
