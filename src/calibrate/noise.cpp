// Gaussian noise of an exact norm, drawn in stretches of fixed length with a seed of their own, so
// that it can be drawn twice (once to know its norm, once to add it) and by any number of threads.
#include <array>
#include <cmath>
#include <numbers>
#include <vector>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/random.h"

namespace ram {
namespace {

constexpr int64_t kStretch = 4096;

/// Calls add(index, value) with standard normal values for one stretch.
/// @source G. Box and M. Muller, A Note on the Generation of Random Normal Deviates, 1958
template <typename Add>
void draw_stretch(uint64_t seed, int64_t stretch, int64_t count, const Add& add) {
  SplitMix64 mixed(seed ^ (static_cast<uint64_t>(stretch) * 0xd1342543de82ef95U));
  SplitMix64 random(mixed.next());
  for (int64_t i = 0; i < count; i += 2) {
    const double radius = std::sqrt(-2 * std::log(1 - random.uniform()));
    const double angle = 2 * std::numbers::pi * random.uniform();
    add(i, radius * std::cos(angle));
    if (i + 1 < count) add(i + 1, radius * std::sin(angle));
  }
}

}  // namespace

void add_noise(std::span<float> weights, int64_t parts, double relative, uint64_t seed,
               ThreadPool& pool) {
  RAM_CHECK(parts >= 1 && std::ssize(weights) % parts == 0 && relative >= 0);
  const int64_t part_size = std::ssize(weights) / parts;
  const int64_t stretches = (part_size + kStretch - 1) / kStretch;
  struct Sums {
    double weights = 0;
    double noise = 0;
  };
  std::vector<Sums> sums(static_cast<size_t>(parts * stretches));
  const auto stretch_of = [&](int64_t i) {
    const int64_t first = i % stretches * kStretch;
    return weights.subspan(static_cast<size_t>(i / stretches * part_size + first),
                           static_cast<size_t>(std::min(kStretch, part_size - first)));
  };
  pool.run(parts * stretches, [&](int64_t i, int) {
    Sums& sum = sums[static_cast<size_t>(i)];
    const std::span<float> stretch = stretch_of(i);
    for (const float weight : stretch) sum.weights += double{weight} * double{weight};
    draw_stretch(seed, i, std::ssize(stretch),
                 [&](int64_t, double value) { sum.noise += value * value; });
  });
  std::vector<double> scales(static_cast<size_t>(parts));
  for (int64_t part = 0; part < parts; ++part) {
    Sums all;
    for (int64_t s = 0; s < stretches; ++s) {
      all.weights += sums[static_cast<size_t>(part * stretches + s)].weights;
      all.noise += sums[static_cast<size_t>(part * stretches + s)].noise;
    }
    if (all.noise > 0) {
      scales[static_cast<size_t>(part)] = relative * std::sqrt(all.weights / all.noise);
    }
  }
  pool.run(parts * stretches, [&](int64_t i, int) {
    const std::span<float> stretch = stretch_of(i);
    const double scale = scales[static_cast<size_t>(i / stretches)];
    draw_stretch(seed, i, std::ssize(stretch), [&](int64_t at, double value) {
      float& weight = stretch[static_cast<size_t>(at)];
      weight = static_cast<float>(double{weight} + scale * value);
    });
  });
}

}  // namespace ram
