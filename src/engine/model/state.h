// Members of a LanguageModel, for the files that implement it.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "ram/engine.h"
#include "ram/thread.h"

#include "arch/architecture.h"
#include "backend.h"

namespace ram {

struct LanguageModel::State {
  State(Checkpoint checkpoint_in, const EngineOptions& options_in);

  Checkpoint checkpoint;
  EngineOptions options;
  ThreadPool threads;
  std::unique_ptr<Backend> backend;
  std::vector<std::vector<Stage>> layers;

  const ModelConfig& config() const { return checkpoint.config; }
  int64_t vocabulary() const { return config().vocab; }

  /// @throws Error{kCorrupt} an id outside the vocabulary.
  void check_ids(std::span<const int32_t> ids, int64_t first_position) const;
  /// Sequences that take the rows' memory, and rows that take it back.
  std::vector<Sequence> sequences_of(HiddenRows& rows);
  void take_back(std::vector<Sequence>& sequences, HiddenRows& rows);
  /// @param in_turn run one sequence after another in each stage, never concurrently: for sequences
  /// that share a state. With an observer this is always so.
  void run(std::vector<Sequence>& sequences, int first, int last, const InputObserver& observe,
           bool in_turn = false);
  /// One block of a layer.
  /// @param until everything after the inputs of all these units is skipped; empty: nothing is.
  void run_block(std::vector<Sequence>& sequences, int layer, int block,
                 const InputObserver& observe, std::span<const int> until = {});
  /// Positions of a block's first stage in its layer, and of the first after it.
  std::pair<size_t, size_t> stages_of_block(int layer, int block) const;
  void check_finite(const std::vector<Sequence>& sequences, int layer);
  /// @param piece logits of tokens from `first` on. @throws Error{kCorrupt} one is not finite.
  void check_logits(const Tensor& piece, int64_t row, int64_t first) const;
  /// Calls task(row) for each row: one thread per row where rows are enough, else one row after
  /// another on all threads.
  void for_each_row(int64_t rows, const std::function<void(int64_t row)>& task);

  /// Memory of a decoder that has taken `capacity` tokens: its state and a row of logits.
  int64_t decoder_bytes(int64_t capacity) const;
  /// Prepares the backend for a pass over sequences. @return their rows.
  PassRows begin_pass(const std::vector<Sequence>& sequences);
  void run_stage(const Stage& stage, std::vector<Sequence>& sequences, const InputObserver& observe,
                 bool side_by_side, std::span<const int> until);
  /// Splits layers into steps: all experts at once where they are kept.
  void arrange_layers();
  /// Stops keeping weights that would leave no room for such rows.
  void make_room(const PassRows& rows);
};

}  // namespace ram
