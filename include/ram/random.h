// Random numbers that are the same with every standard library: results by seed are part of the
// program's contract. Part of the module `base`.
#pragma once

#include <cstdint>

namespace ram {

/// splitmix64's output function, a bijection: nearby inputs give unrelated outputs.
constexpr uint64_t mix_bits(uint64_t z) {
  z = (z ^ (z >> 30U)) * 0xbf58476d1ce4e5b9U;
  z = (z ^ (z >> 27U)) * 0x94d049bb133111ebU;
  return z ^ (z >> 31U);
}

inline constexpr uint64_t kGoldenGamma = 0x9e3779b97f4a7c15U;  ///< 2^64 over the golden ratio

/// The seed of the index-th of several draws under one seed. Seed + index would not work:
/// neighbouring seeds would share all draws but one.
constexpr uint64_t derived_seed(uint64_t seed, uint64_t index) {
  return mix_bits(seed + mix_bits(index * kGoldenGamma));
}

/// A stream of 64-bit numbers. @source S. Vigna, splitmix64 (public domain), 2015
class SplitMix64 {
 public:
  explicit SplitMix64(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    state_ += kGoldenGamma;
    return mix_bits(state_);
  }

  /// Uniform in [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11U) * 0x1.0p-53; }

 private:
  uint64_t state_;
};

}  // namespace ram
