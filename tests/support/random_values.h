// Numbers for tests that are the same on every machine.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace ram::testing {

/// Standard normal values from a counter: @source Box and Muller (1958); mixing: splitmix64.
std::vector<float> random_values(uint64_t seed, std::string_view name, int64_t count, float mean,
                                 float deviation);

/// The same with mean 0 and deviation 1.
inline std::vector<float> random_values(int64_t count, uint64_t seed) {
  return random_values(seed, "values", count, 0, 1);
}

}  // namespace ram::testing
