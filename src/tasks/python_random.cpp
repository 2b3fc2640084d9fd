// MT19937 as seeded and used by Python. std::mt19937 has the same recurrence, but not Python's
// seeding from an array, and its state cannot be set.
#include "python_random.h"

#include <bit>
#include <cmath>
#include <numeric>
#include <unordered_set>

#include "ram/error.h"

namespace ram {

// @source M. Matsumoto, T. Nishimura, Mersenne Twister, 1998; mt19937ar.c of 2002, init_by_array
PythonRandom::PythonRandom(uint32_t seed) : state_{}, at_(state_.size()) {
  const size_t n = state_.size();
  state_[0] = 19'650'218;
  for (uint32_t i = 1; i < n; ++i) {
    state_[i] = 1'812'433'253U * (state_[i - 1] ^ (state_[i - 1] >> 30)) + i;
  }
  size_t i = 1;
  const auto advance = [&] {
    if (++i < n) return;
    state_[0] = state_[n - 1];
    i = 1;
  };
  // The key has one element, so its index, which would be added too, is always 0.
  for (size_t k = 0; k < n; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1'664'525U)) + seed;
    advance();
  }
  for (size_t k = 1; k < n; ++k) {
    state_[i] = (state_[i] ^ ((state_[i - 1] ^ (state_[i - 1] >> 30)) * 1'566'083'941U)) -
                static_cast<uint32_t>(i);
    advance();
  }
  state_[0] = 0x80000000U;
}

uint32_t PythonRandom::next() {
  const size_t n = state_.size();
  constexpr size_t kMiddle = 397;
  if (at_ == n) {
    for (size_t i = 0; i < n; ++i) {
      const uint32_t y = (state_[i] & 0x80000000U) | (state_[(i + 1) % n] & 0x7fffffffU);
      state_[i] = state_[(i + kMiddle) % n] ^ (y >> 1) ^ ((y & 1) != 0 ? 0x9908b0dfU : 0U);
    }
    at_ = 0;
  }
  uint32_t y = state_[at_++];
  y ^= y >> 11;
  y ^= (y << 7) & 0x9d2c5680U;
  y ^= (y << 15) & 0xefc60000U;
  return y ^ (y >> 18);
}

// A number in [0, end): as many bits as `end` has, drawn again while too large.
int64_t PythonRandom::below(int64_t end) {
  const auto bits = static_cast<int>(std::bit_width(static_cast<uint64_t>(end)));
  int64_t value = end;
  while (value >= end) value = next() >> (32 - bits);
  return value;
}

std::vector<int64_t> PythonRandom::sample(int64_t population, int64_t count) {
  RAM_CHECK(count >= 0 && count <= population && population < (int64_t{1} << 31));
  // Python keeps a list of the remaining elements if it is smaller than a set of those taken.
  int64_t most_listed = 21;
  if (count > 5) {
    const double digits = std::ceil(std::log(static_cast<double>(count * 3)) / std::log(4.0));
    most_listed += static_cast<int64_t>(std::pow(4.0, digits));
  }
  std::vector<int64_t> drawn;
  if (population <= most_listed) {
    std::vector<int64_t> pool(static_cast<size_t>(population));
    std::iota(pool.begin(), pool.end(), 0);
    for (int64_t i = 0; i < count; ++i) {
      const auto j = static_cast<size_t>(below(population - i));
      drawn.push_back(pool[j]);
      pool[j] = pool[static_cast<size_t>(population - i - 1)];
    }
    return drawn;
  }
  std::unordered_set<int64_t> taken;
  while (std::ssize(drawn) < count) {
    int64_t j = below(population);
    while (!taken.insert(j).second) j = below(population);
    drawn.push_back(j);
  }
  return drawn;
}

}  // namespace ram
