// Losses and divergences of a block of rows, gathered from pieces of logits as the engine hands
// them out: several workers at a time, distinct tokens each.
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
  /// @param models how many sources of logits; with more than one the first is the reference of the
  ///               others.
  BlockScores(std::span<const TokenRow> rows, int models);

  /// Takes a piece. Safe from several threads for distinct tokens; a token's pieces in order.
  void add(const LogitPiece& piece);

  /// Loss of row `row` of the block under model `model`. `RowScore::row` is left 0.
  /// @pre all pieces were added.
  RowScore score(int model, int64_t row) const;
  /// Divergence of model `model` (1 on) from the reference.
  RowDivergence divergence_of(int model, int64_t row) const;

 private:
  double loss(int model, int64_t token) const;

  std::span<const TokenRow> rows_;
  int models_;
  std::vector<int64_t> first_;  ///< per row, its first token's place
  /// [tokens][models] and [tokens][models - 1]: what one worker writes lies together.
  std::vector<LogitSum> sums_;
  std::vector<float> targets_;
  std::vector<double> cross_;
};

}  // namespace ram
