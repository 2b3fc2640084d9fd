// @source transformers 5.23, modeling_rope_utils.py: frequencies are float32 there, and their
// rounding is part of what a model computes; this does the same.
#include "cpu/rope.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "ram/error.h"

namespace ram {
namespace {

constexpr double kTwoPi = 2 * std::numbers::pi;

/// theta^(-2i / dim)
std::vector<float> plain_frequencies(double theta, int64_t dim) {
  std::vector<float> frequencies(static_cast<size_t>(dim / 2));
  for (int64_t i = 0; i < dim / 2; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(dim);
    const auto power = static_cast<float>(std::pow(theta, static_cast<double>(exponent)));
    frequencies[static_cast<size_t>(i)] = 1.0F / power;
  }
  return frequencies;
}

/// Long waves are stretched, short ones are not, those between partly.
/// @source transformers, `_compute_llama3_parameters`
void scale_llama3(const RopeConfig& rope, std::vector<float>& frequencies) {
  const auto original = static_cast<double>(rope.original_max_positions);
  const double low_wave = original / rope.low_freq_factor;
  const double high_wave = original / rope.high_freq_factor;
  for (float& frequency : frequencies) {
    const double wave = kTwoPi / static_cast<double>(frequency);
    if (wave < high_wave) continue;
    if (wave > low_wave) {
      frequency = frequency / static_cast<float>(rope.factor);
      continue;
    }
    const double smooth =
        (original / wave - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
    frequency = static_cast<float>((1 - smooth) * frequency / rope.factor + smooth * frequency);
  }
}

/// @source transformers, `_compute_yarn_parameters`
void scale_yarn(const RopeConfig& rope, int64_t dim, std::vector<float>& frequencies) {
  const auto dimension_of = [&](double rotations) {
    const auto original = static_cast<double>(rope.original_max_positions);
    return static_cast<double>(dim) * std::log(original / (rotations * kTwoPi)) /
           (2 * std::log(rope.theta));
  };
  double low = dimension_of(rope.beta_fast);
  double high = dimension_of(rope.beta_slow);
  if (rope.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, static_cast<double>(dim - 1));
  if (low == high) high += 0.001;
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double ramp = std::clamp((static_cast<double>(i) - low) / (high - low), 0.0, 1.0);
    const double stretched = static_cast<double>(frequencies[i]) / rope.factor;
    frequencies[i] =
        static_cast<float>(stretched * ramp + static_cast<double>(frequencies[i]) * (1 - ramp));
  }
}

double yarn_mscale(double scale, double mscale) {
  return scale <= 1 ? 1.0 : 0.1 * mscale * std::log(scale) + 1.0;
}

double yarn_attention_factor(const RopeConfig& rope) {
  if (rope.attention_factor) return *rope.attention_factor;
  if (rope.mscale && rope.mscale_all_dim) {
    return yarn_mscale(rope.factor, *rope.mscale) / yarn_mscale(rope.factor, *rope.mscale_all_dim);
  }
  return yarn_mscale(rope.factor, 1);
}

}  // namespace

RopeTable::RopeTable(const RopeConfig& rope, int64_t rotated, int64_t max_positions)
    : type_(rope.type),
      half_(rotated / 2),
      max_positions_(max_positions),
      frequencies_(plain_frequencies(rope.theta, rotated)) {
  switch (rope.type) {
    case RopeType::kDefault:
    case RopeType::kDynamic:
      break;
    case RopeType::kLinear:
      for (float& frequency : frequencies_) frequency /= static_cast<float>(rope.factor);
      break;
    case RopeType::kLlama3:
      scale_llama3(rope, frequencies_);
      break;
    case RopeType::kYarn:
      scale_yarn(rope, rotated, frequencies_);
      factor_ = static_cast<float>(yarn_attention_factor(rope));
      break;
    case RopeType::kLongrope:
      fail(Code::kUnsupported,
           "rope_type longrope: this engine computes default, linear, dynamic, llama3 and yarn");
  }
}

void RopeTable::ensure(int64_t count) {
  const std::lock_guard lock(mutex_);
  if (count <= count_) return;
  if (type_ == RopeType::kDynamic && count > max_positions_) {
    fail(Code::kUnsupported,
         "rope_type dynamic with {} tokens: this engine computes it up to max_position_embeddings "
         "({}) only; use shorter rows",
         count, max_positions_);
  }
  cosines_.resize(static_cast<size_t>(count * half_));
  sines_.resize(cosines_.size());
  for (int64_t position = count_; position < count; ++position) {
    for (int64_t i = 0; i < half_; ++i) {
      const float angle = static_cast<float>(position) * frequencies_[static_cast<size_t>(i)];
      const auto at = static_cast<size_t>(position * half_ + i);
      cosines_[at] = static_cast<float>(std::cos(static_cast<double>(angle))) * factor_;
      sines_[at] = static_cast<float>(std::sin(static_cast<double>(angle))) * factor_;
    }
  }
  count_ = count;
}

RopeTables::RopeTables(const ModelConfig& config) {
  std::vector<const AttentionConfig*> made;
  for (const LayerConfig& layer : config.layers) {
    const AttentionConfig& own = layer.attention;
    const auto same = std::find_if(made.begin(), made.end(), [&own](const AttentionConfig* other) {
      return other->rotated == own.rotated && other->rope == own.rope;
    });
    of_layer_.push_back(static_cast<size_t>(same - made.begin()));
    if (same != made.end()) continue;
    made.push_back(&own);
    tables_.push_back(std::make_unique<RopeTable>(own.rope, own.rotated, config.max_positions));
  }
}

void RopeTables::ensure(int64_t count) {
  for (const auto& table : tables_) table->ensure(count);
}

}  // namespace ram
