// Slow truths for the tests of compressing: inputs of one unit, and the damping chosen by them.
#pragma once

#include <cstdint>
#include <map>
#include <tuple>
#include <vector>

#include "ram/calibrate.h"
#include "ram/encoder.h"
#include "ram/engine.h"
#include "ram/thread.h"

namespace ram {

/// Inputs of one unit by part, row and position.
using ByToken = std::map<std::tuple<int, int64_t, int32_t>, std::vector<float>>;

inline ByToken inputs_of(LanguageModel& model, const CalibrationText& text, int unit) {
  ByToken inputs;
  HiddenRows hidden = model.embed(text.rows);
  const int layer = model.checkpoint().units[static_cast<size_t>(unit)].layer;
  model.run_layers(hidden, 0, layer + 1, [&](const LinearInput& input) {
    if (input.unit != unit) return;
    for (int64_t t = 0; t < input.tokens; ++t) {
      const int32_t position =
          input.positions == nullptr ? static_cast<int32_t>(t) : input.positions[t];
      const float* x = input.inputs + t * input.cols;
      inputs[{input.part, input.row, position}] = std::vector<float>(x, x + input.cols);
    }
  });
  return inputs;
}

/// One part's inputs in order of rows and positions. For `original`, those of the same tokens;
/// where a token did not reach this part there, those of `inputs`.
inline std::vector<float> matched(const ByToken& inputs, const ByToken& original, int part,
                                  int64_t row) {
  std::vector<float> result;
  for (const auto& [key, x] : inputs) {
    if (std::get<0>(key) != part || std::get<1>(key) != row) continue;
    const auto found = original.find(key);
    const std::vector<float>& from = found == original.end() ? x : found->second;
    result.insert(result.end(), from.begin(), from.end());
  }
  return result;
}

/// What is chosen for a unit's parts, by all of at most four. @param moments the last is the sum.
inline double damping_of(const std::vector<SecondMoment>& moments,
                         const std::vector<SecondMoment>& held, ThreadPool& pool) {
  std::vector<SecondMoment> rests;
  std::vector<HeldOut> inputs;
  rests.reserve(held.size());
  for (size_t part = 0; part < held.size(); ++part) {
    if (held[part].tokens() == 0 || held[part].tokens() == moments[part].tokens()) continue;
    SecondMoment& rest = rests.emplace_back(moments[part]);
    if (held.size() > 1) rest.shrink_towards(moments.back(), 64);
    rest.remove(held[part]);
    inputs.push_back({.rest = &rest, .held = &held[part]});
  }
  return inputs.empty() ? 0.01 : choose_damping(inputs, pool);
}

}  // namespace ram
