// Memory that passes take on the CPU, and how much of EngineOptions::memory_bytes is left for kept
// weights and for rows.
#pragma once

#include <cstdint>

#include "ram/checkpoint.h"
#include "ram/engine.h"

#include "backend.h"
#include "cpu/weights.h"

namespace ram {

/// Bytes of weights that a model with these options may keep.
int64_t kept_weights_at_most(const EngineOptions& options);

class CpuMemory {
 public:
  /// All outlive it.
  CpuMemory(const Checkpoint& checkpoint, const EngineOptions& options, WeightStore& weights)
      : checkpoint_(checkpoint), options_(options), weights_(weights) {}

  void set_steps(StepWeights steps) { steps_ = std::move(steps); }
  int experts_at_once() const;

  /// As in Backend. @param stored some products use weights in stored form.
  bool make_room(int64_t length, bool stored);

  /// Memory per worker, beside the weights, for a sequence of `length` tokens: the buffers of each
  /// step of a layer, kept for the next layer.
  struct Scratch {
    int64_t bytes = 0;
    int64_t idle_bytes = 0;  ///< of these, unused while the largest step runs
  };
  Scratch scratch(int64_t length) const;

  /// Upper bound on the bytes of weights that a step of a layer or a piece of the head loads.
  int64_t step_bytes() const;
  int64_t pass_bytes(int64_t length) const;
  int64_t row_bytes(int64_t length) const;
  int64_t logits_bytes(int64_t models) const;
  int64_t rows_at_once(int64_t length) const;
  /// The memory less what allocators round up.
  int64_t usable_bytes() const;

 private:
  const Checkpoint& checkpoint_;
  const EngineOptions& options_;
  WeightStore& weights_;
  StepWeights steps_;
  int64_t room_length_ = 0;  // of the longest rows for which room was made
  bool room_stored_ = false;
  bool room_made_ = true;  // false: steps will change, and with them the memory of a pass
};

}  // namespace ram
