// Trials for simulations of statistics. They run only in optimized builds.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include <gtest/gtest.h>

#include "ram/machine.h"
#include "ram/thread.h"

#include "support/sanitizers.h"

#if RAM_SANITIZED || !defined(__OPTIMIZE__)
#define RAM_TOO_SLOW 1
#endif

namespace ram {

using Generator = std::mt19937_64;
/// The difference of two models' losses per token in one row, symmetric about zero.
using Draw = double (*)(Generator&);

inline double normal(Generator& generator) {
  return std::normal_distribution<double>()(generator);
}
/// Three degrees of freedom: the fourth moment is infinite.
inline double heavy(Generator& generator) {
  return std::student_t_distribution<double>(3)(generator);
}
/// One row in thirty is twenty times as wide, like a garbage row.
inline double garbage(Generator& generator) {
  const bool is_garbage = std::uniform_int_distribution<int>(0, 29)(generator) == 0;
  return (is_garbage ? 20 : 1) * normal(generator);
}

/// Skipped in a build without optimization.
class Simulation : public ::testing::Test {
 protected:
  void SetUp() override {
#ifdef RAM_TOO_SLOW
    GTEST_SKIP() << "only in the optimized build: minutes in this one";
#endif
  }
};

/// @return the share of trials in which `happens`, each with its own generator.
inline double share_of(int trials, const std::function<bool(Generator&)>& happens) {
  std::vector<char> hits(static_cast<size_t>(trials), 0);
  parallel_for(default_threads(), trials, [&](int64_t trial, int) {
    Generator generator(static_cast<uint64_t>(trial) + 11);
    hits[static_cast<size_t>(trial)] = happens(generator) ? 1 : 0;
  });
  double sum = 0;
  for (const char hit : hits) sum += hit;
  return sum / trials;
}

}  // namespace ram
