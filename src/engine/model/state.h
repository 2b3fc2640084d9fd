// What a LanguageModel holds, for the files that implement it.
#pragma once

#include <memory>
#include <vector>

#include "ram/engine.h"
#include "ram/thread.h"

#include "arch/architecture.h"
#include "cpu/cpu_backend.h"

namespace ram {

struct LanguageModel::State {
  State(Checkpoint checkpoint_in, const EngineOptions& options_in);

  Checkpoint checkpoint;
  EngineOptions options;
  int64_t memory_bytes = 0;
  std::shared_ptr<BufferPool> buffers;
  ThreadPool threads;
  Products products;
  RopeTable rope;
  WeightStore weights;
  CpuBackend backend;
  std::vector<std::vector<Stage>> layers;
  int embedding = 0;  ///< units
  int final_norm = 0;
  int head = 0;              ///< the embedding where they are tied
  int64_t idle_length = -1;  ///< of rows, that the pool of buffers keeps room for
  int64_t room_length = 0;   ///< of the longest rows that make_room was asked for
  bool room_stored = false;

  const ModelConfig& config() const { return checkpoint.config; }
  int64_t vocabulary() const { return config().vocab; }

  /// @throws Error{kCorrupt} an id outside the vocabulary.
  void check_ids(std::span<const int32_t> ids, int64_t first_position) const;
  /// Sequences that work in the rows' memory.
  std::vector<Sequence> sequences_of(HiddenRows& rows);
  /// @param in_turn one sequence after another in each stage, never side by side: for sequences
  ///                that share a cache. With an observer that is so anyway.
  /// @param until what follows the inputs of all these units is left out; empty: nothing is.
  void run(std::vector<Sequence>& sequences, int first, int last, const InputObserver& observe,
           bool in_turn = false, std::span<const int> until = {});
  void check_finite(const std::vector<Sequence>& sequences, int layer);
  /// The final norm of some rows of a hidden state, [padded_rows(count), hidden].
  std::shared_ptr<std::byte> normed(const float* hidden, int64_t count);

  /// What one worker takes beside the weights for a sequence of `length` tokens: the buffers of
  /// each step of a layer, kept for the next layer.
  struct Scratch {
    int64_t bytes = 0;
    int64_t idle_bytes = 0;  ///< of these, in use by no step while the largest one runs
  };
  Scratch scratch(int64_t length) const;
  /// Bytes of weights that a step of a layer or a piece of the head has at hand, at most.
  int64_t step_bytes() const;
  /// As LanguageModel's.
  int64_t pass_bytes(int64_t length) const;
  int64_t row_bytes(int64_t length) const;
  /// What a decoder that has taken `capacity` tokens holds: keys, values and a row of logits.
  int64_t decoder_bytes(int64_t capacity) const;
  /// The memory less what allocators round up.
  int64_t usable_bytes() const;
  /// Cuts layers into steps: experts come all at once where they are kept.
  void arrange_layers();
  /// Keeps weights no longer that would leave no room for a row of `length` tokens.
  /// @param stored some products take weights as stored.
  void make_room(int64_t length, bool stored);
};

}  // namespace ram
