// Python's random.Random, as far as needed to draw examples: the same seed gives the same draws.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace ram {

/// @source CPython 3.11, Modules/_randommodule.c (MT19937, init_by_array, getrandbits),
/// Lib/random.py
///         (_randbelow_with_getrandbits, sample)
class PythonRandom {
 public:
  /// random.Random(seed).
  explicit PythonRandom(uint32_t seed);

  /// @return sample(range(population), count): which elements, in the order drawn.
  /// @pre 0 <= count <= population < 2^31.
  std::vector<int64_t> sample(int64_t population, int64_t count);

 private:
  uint32_t next();
  int64_t below(int64_t end);

  std::array<uint32_t, 624> state_;
  size_t at_;
};

}  // namespace ram
