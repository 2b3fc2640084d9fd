// Draws rows as numpy's legacy generator does, so that a published sample can be reproduced.
#include <algorithm>
#include <bit>
#include <numeric>
#include <random>
#include <utility>

#include "ram/error.h"
#include "ram/statistics.h"

namespace ram {
namespace {

// A number in [0, most]: bits above the highest of `most` are masked out, larger numbers are drawn
// again. @source numpy/random/src/distributions/distributions.c, random_interval
uint64_t random_interval(std::mt19937& generator, uint64_t most) {
  if (most == 0) return 0;
  const uint64_t mask = std::bit_ceil(most + 1) - 1;
  const auto next = [&]() -> uint64_t {
    if (most <= 0xffffffffU) return generator();
    const uint64_t high = generator();
    return high << 32 | generator();
  };
  for (;;) {
    const uint64_t value = next() & mask;
    if (value <= most) return value;
  }
}

}  // namespace

std::vector<int64_t> draw_rows(int64_t population, int64_t n, uint32_t seed) {
  RAM_CHECK(n >= 0 && n <= population);
  // std::mt19937 is seeded by the same recurrence (init_genrand).
  std::mt19937 generator(seed);
  std::vector<int64_t> rows(static_cast<size_t>(population));
  std::iota(rows.begin(), rows.end(), 0);
  for (int64_t i = population - 1; i > 0; --i) {
    const uint64_t j = random_interval(generator, static_cast<uint64_t>(i));
    std::swap(rows[static_cast<size_t>(i)], rows[j]);
  }
  rows.resize(static_cast<size_t>(n));
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace ram
