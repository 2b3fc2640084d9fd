// Losses and divergences of a block of rows, collected from the engine's pieces of logits: from
// several workers at a time, each with distinct tokens.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ram/engine.h"
#include "ram/score_table.h"

#include "logit_sums.h"

namespace ram {

class BlockScores {
 public:
  /// @param rows   at least two tokens each; must outlive the object.
  /// @param models number of sources of logits; if more than one, the first is the reference of the
  /// others.
  BlockScores(std::span<const TokenRow> rows, int models);

  /// Adds a piece. Safe from several threads for distinct tokens; the pieces of a token in order.
  void add(const LogitPiece& piece);

  /// Loss of row `row` of the block under model `model`. `RowScore::row` stays 0.
  /// @pre all pieces were added.
  RowScore score(int model, int64_t row) const;
  /// Divergence of model `model` (1 on) from the reference.
  RowDivergence divergence_of(int model, int64_t row) const;

 private:
  double loss(int model, int64_t token) const;

  std::span<const TokenRow> rows_;
  int models_;
  std::vector<int64_t> first_;  ///< per row, the index of its first token
  /// [tokens][models] and [tokens][models - 1]: the data of one worker is contiguous.
  std::vector<LogitSum> sums_;
  std::vector<float> targets_;
  std::vector<double> cross_;
};

}  // namespace ram
