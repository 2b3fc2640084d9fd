#include "support/random_values.h"

#include <cmath>

namespace ram::testing {

std::vector<float> random_values(uint64_t seed, std::string_view name, int64_t count, float mean,
                                 float deviation) {
  uint64_t state = seed * 0x9e3779b97f4a7c15ULL;
  for (const char c : name) state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  const auto next = [&state] {
    state += 0x9e3779b97f4a7c15ULL;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return (static_cast<double>((z ^ (z >> 31)) >> 11) + 0.5) * 0x1.0p-53;
  };
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    const double radius = std::sqrt(-2.0 * std::log(next()));
    value = mean + deviation * static_cast<float>(radius * std::cos(6.283185307179586 * next()));
  }
  return values;
}

}  // namespace ram::testing
