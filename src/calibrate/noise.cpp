// Gaussian noise of an exact norm, drawn in stretches of fixed length, each with its own seed, so
// that any number of threads can draw it twice: once to know its norm, once to add it to the
// requested rows. It is never stored.
#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/random.h"
#include "ram/size.h"
#include "ram/thread.h"

#include "units.h"

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

/// Sums over a stretch, and finally over a part.
struct Sums {
  double weights = 0;
  double noise = 0;
};

}  // namespace

UnitRows noisy_rows(const Checkpoint& checkpoint, int unit, double relative, uint64_t seed,
                    ThreadPool& pool) {
  RAM_CHECK(relative >= 0);
  const Unit& use = checkpoint.units.at(static_cast<size_t>(unit));
  const auto parts = std::ssize(use.parts);
  const int64_t stretches = ceil_div(use.part_weights(), kStretch);
  // Blocks of whole stretches that begin at or near the start of a row: a stretch may cover only a
  // part of its first and last row.
  std::vector<Sums> sums(static_cast<size_t>(parts * stretches));
  constexpr int64_t kStretchesAtOnce = 64;
  const int64_t blocks = ceil_div(stretches, kStretchesAtOnce);
  pool.run(parts * blocks, [&](int64_t i, int) {
    check_interrupted();
    const int64_t part = i / blocks;
    const int64_t begin = i % blocks * kStretchesAtOnce * kStretch;
    const int64_t end = std::min(use.part_weights(), begin + kStretchesAtOnce * kStretch);
    const int64_t first = begin / use.cols;
    const int64_t count = ceil_div(end, use.cols) - first;
    std::vector<float> weights(static_cast<size_t>(count * use.cols));
    read_rows(checkpoint, unit, static_cast<int>(part), first, count, std::nullopt, weights.data());
    for (int64_t at = begin; at < end; at += kStretch) {
      const int64_t stretch = part * stretches + at / kStretch;
      Sums& sum = sums[static_cast<size_t>(stretch)];
      const int64_t length = std::min(kStretch, end - at);
      const float* values = weights.data() + at - first * use.cols;
      for (int64_t j = 0; j < length; ++j) sum.weights += double{values[j]} * double{values[j]};
      draw_stretch(seed, stretch, length,
                   [&](int64_t, double value) { sum.noise += value * value; });
    }
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
  return [=, &checkpoint, scales = std::move(scales)](int part, int64_t first, int64_t count,
                                                      float* out) {
    read_rows(checkpoint, unit, part, first, count, std::nullopt, out);
    const Unit& of = checkpoint.units.at(static_cast<size_t>(unit));
    const int64_t begin = first * of.cols;
    const int64_t end = begin + count * of.cols;
    const double scale = scales[static_cast<size_t>(part)];
    for (int64_t s = begin / kStretch; s * kStretch < end; ++s) {
      const int64_t at = s * kStretch;
      const int64_t length = std::min(kStretch, of.part_weights() - at);
      draw_stretch(seed, part * stretches + s, length, [&](int64_t j, double value) {
        if (at + j < begin || at + j >= end) return;
        float& weight = out[at + j - begin];
        weight = static_cast<float>(double{weight} + scale * value);
      });
    }
  };
}

}  // namespace ram
