// A tiny model with invented curves, to test planning without measurements.
#pragma once

#include <cmath>
#include <filesystem>
#include <random>
#include <string>

#include "ram/plan.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {

/// NRMSE about 2^-bits, slightly worse for larger groups, times a factor per unit; the simulated
/// quantizer gets another factor, so that a test sees which curves were used.
inline ModelCurves invented_curves(const Checkpoint& checkpoint, Encoder encoder, unsigned seed) {
  std::mt19937 random(seed);
  std::lognormal_distribution<double> spread(0.0, 0.5);
  ModelCurves curves;
  curves.fingerprint = "fingerprint of " + checkpoint.name;
  curves.encoder = encoder;
  for (const Unit& unit : checkpoint.units) {
    UnitCurve curve;
    curve.part_weights = unit.part_weights();
    curve.parts.resize(unit.parts.size());
    if (unit.quantizable) curve.formats = formats_for_cols(unit.cols);
    const double factor = (encoder == Encoder::kMlx ? 1.0 : 1.1) * spread(random);
    for (Distortion& part : curve.parts) {
      part.sum_squares = static_cast<double>(unit.part_weights());
      for (size_t i = 0; i < kAffineFormats.size(); ++i) {
        const double relative = factor * std::ldexp(1.0, -kAffineFormats[i].bits) *
                                (1 + std::log2(kAffineFormats[i].group_size) / 50);
        part.squared_error[i] = part.sum_squares * relative * relative;
      }
      curve.pooled += part;
    }
    curves.units.push_back(std::move(curve));
  }
  return curves;
}

/// A model of `family` on disk, opened, with both kinds of curves.
class PlanningModel {
 public:
  explicit PlanningModel(const testing::TinyModel& model = {}, unsigned seed = 1)
      : checkpoint(open(folder_ / "model", model)),
        stored(invented_curves(checkpoint, Encoder::kMlx, seed)),
        simulated(invented_curves(checkpoint, Encoder::kSimulated, seed)) {}

  PlanInput input() const { return {checkpoint, stored, &simulated}; }

  PlanResult plan(const PlanRequest& request) const { return make_plan(input(), request); }

  PlanRequest with_budget(int64_t bytes) const {
    PlanRequest request;
    request.budget_bytes = bytes;
    return request;
  }

  int64_t min_safe_bytes() const { return plan(with_budget(1)).min_safe_bytes; }

 private:
  static Checkpoint open(const std::filesystem::path& path, const testing::TinyModel& model) {
    testing::write_tiny_model(path, model);
    return Checkpoint::open(path.string());
  }
  testing::TempFolder folder_;

 public:
  Checkpoint checkpoint;
  ModelCurves stored;
  ModelCurves simulated;
};

inline testing::TinyModel tiny_experts() {
  return {.model_type = "qwen3_moe",
          .hidden = 128,
          .layers = 3,
          .heads = 2,
          .experts = 4,
          .expert_width = 128};
}

}  // namespace ram
