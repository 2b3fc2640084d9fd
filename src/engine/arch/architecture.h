// The architectures' forward passes: the work of a layer, split into stages between which weights
// are loaded and evicted. A new architecture is a file in this folder and a row in
// architectures.cpp; a family that differs only in its configuration is a row.
#pragma once

#include <functional>
#include <string_view>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/model_config.h"

#include "backend.h"

namespace ram {

/// One sequence on its way through the layers.
struct Sequence {
  Tensor hidden;
  int64_t position = 0;            ///< of its first token
  SequenceState* state = nullptr;  ///< or null: nothing of it is kept
  /// If not empty, each row of `hidden` is the only token of a separate sequence, all of them at
  /// `position`, and these are their states.
  std::vector<SequenceState*> abreast;
  // Between the stages of one layer:
  Tensor normed;
  Tensor sum;
  Routing routing;
};

/// A step of a layer: the matrices that must be loaded for it, and what it does to one sequence.
/// Stages of one layer run in order; within a stage, sequences run in any order or concurrently.
struct Stage {
  std::vector<WeightSlice> weights;
  std::function<void(Operations& operations, Sequence& sequence)> run;
  /// Whether the sequence's hidden state is all that later stages need: a block of the layer ends.
  bool ends_block = false;
};

/// What stages are built from.
struct LayerContext {
  const Checkpoint& checkpoint;
  const ModelConfig& config;
  int layer = 0;
  /// Upper bound on the number of experts whose matrices are loaded at a time.
  int experts_at_once = 1;

  const LayerConfig& own() const { return config.layer(layer); }
  /// The index of unit "model.layers.<layer>.<module>". @pre it exists.
  int unit(std::string_view module) const;
};

using LayerStagesFn = std::vector<Stage> (*)(const LayerContext& context);

/// @return how a layer of this model_type is computed.
/// @throws Error{kUnsupported} no architecture has that name.
LayerStagesFn layer_stages_of(std::string_view model_type);

}  // namespace ram
