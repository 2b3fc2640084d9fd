// Problems shared by the tests of this module: small random ones of every difficult kind, and the
// shapes of real models with each format's error on Gaussian weights.
#pragma once

#include <cmath>
#include <cstdint>
#include <random>
#include <vector>

#include "ram/allocate.h"

namespace ram::testing {

struct TestFormat {
  int bits;
  int group_size;
  double nrmse;
};

/// @source the published simulated quantizer on Gaussian weights, a large sample
inline constexpr TestFormat kGaussian[] = {
    {2, 64, 0.4499}, {2, 32, 0.3930},   {3, 64, 0.1922},  {3, 32, 0.1678}, {4, 128, 0.0997},
    {4, 64, 0.0896}, {4, 32, 0.0782},   {5, 64, 0.0434},  {5, 32, 0.0378}, {6, 64, 0.0213},
    {6, 32, 0.0186}, {8, 128, 0.00586}, {8, 64, 0.00527}, {16, 0, 0},
};

/// ceil(n * bits / 8) + 4 * ceil(n / group): 16-bit scale and bias per group.
inline int64_t stored_bytes(int64_t weights, const TestFormat& format) {
  if (format.bits == 16) return 2 * weights;
  return (weights * format.bits + 7) / 8 +
         (weights + format.group_size - 1) / format.group_size * 4;
}

/// One unit with the squared Gaussian error times `coefficient` as loss.
inline std::vector<Option> gaussian_unit(int64_t weights, double coefficient) {
  std::vector<Option> options;
  for (const TestFormat& format : kGaussian) {
    options.push_back({stored_bytes(weights, format), coefficient * format.nrmse * format.nrmse});
  }
  return options;
}

/// Weights of Qwen3-30B-A3B's quantizable matrices: embedding, layers, head.
/// @source its config.json: 48 layers, hidden 2048, 32 + 2 * 4 heads of 128, 128 experts of 768
inline std::vector<int64_t> qwen3_30b_sizes(bool grouped) {
  constexpr int64_t kHidden = 2048, kVocabulary = 151936, kExpert = 768 * kHidden;
  std::vector<int64_t> sizes{kVocabulary * kHidden};
  for (int layer = 0; layer < 48; ++layer) {
    for (const int64_t rows : {4096, 512, 512, 4096}) sizes.push_back(rows * kHidden);
    if (grouped) {
      sizes.insert(sizes.end(), 3, 128 * kExpert);
    } else {
      sizes.insert(sizes.end(), 3 * 128, kExpert);
    }
  }
  sizes.push_back(kVocabulary * kHidden);
  return sizes;
}

inline int64_t least_bytes(const Knapsack& problem) {
  int64_t sum = 0;
  for (const auto& unit : problem.units) {
    int64_t least = unit.front().bytes;
    for (const Option& option : unit) least = std::min(least, option.bytes);
    sum += least;
  }
  return sum;
}

inline int64_t most_bytes(const Knapsack& problem) {
  int64_t sum = 0;
  for (const auto& unit : problem.units) {
    int64_t most = 0;
    for (const Option& option : unit) most = std::max(most, option.bytes);
    sum += most;
  }
  return sum;
}

/// A random number that does not depend on the standard library (unlike its distributions).
inline int64_t pick(std::mt19937_64& random, int64_t count) {
  return static_cast<int64_t>(random() % static_cast<uint64_t>(count));
}
inline double fraction(std::mt19937_64& random) {
  return static_cast<double>(random() >> 11) * 0x1p-53;
}

/// Up to 6 units of up to 5 options: ties, repeats, dominated options, zero losses, single options,
/// common divisors, losses linear in bytes or far from it.
inline Knapsack small_problem(std::mt19937_64& random) {
  Knapsack problem;
  const int64_t range = int64_t{1} << pick(random, 41);
  const int64_t divisor = pick(random, 2) == 0 ? 1 : 1 + pick(random, 4096);
  const int64_t kind = pick(random, 6);
  const double scale = std::ldexp(1.0, static_cast<int>(pick(random, 80)) - 40);
  problem.units.resize(static_cast<size_t>(1 + pick(random, 6)));
  for (auto& unit : problem.units) {
    if (kind == 5 && &unit != &problem.units.front()) {
      unit = problem.units.front();
      continue;
    }
    unit.resize(static_cast<size_t>(1 + pick(random, 5)));
    for (Option& option : unit) {
      const int64_t steps = pick(random, range + 1);
      option.bytes = steps * divisor;
      const auto line = static_cast<double>(range - steps);
      switch (kind) {
        case 0:
          option.loss = static_cast<double>(pick(random, 4));
          break;
        case 1:
          option.loss = line * scale;
          break;
        case 2:
          option.loss = line * scale * (1 + 0.01 * fraction(random));
          break;
        case 3:
          option.loss = pick(random, 3) == 0 ? 0 : fraction(random) * scale;
          break;
        default:
          option.loss = fraction(random) * scale;
          break;
      }
    }
  }
  return problem;
}

}  // namespace ram::testing
