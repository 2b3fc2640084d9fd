// From hidden states to logits, a piece of the vocabulary at a time.
#include <algorithm>
#include <cstring>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/scoped.h"

#include "model/state.h"

namespace ram {
namespace {

/// Tokens [first, first + count) of a row.
struct TokenBlock {
  int64_t row;
  int64_t first;
  int64_t count;
};

std::vector<TokenBlock> blocks_of(const HiddenRows& hidden) {
  std::vector<TokenBlock> blocks;
  for (int64_t row = 0; row < std::ssize(hidden); ++row) {
    const int64_t tokens = hidden[static_cast<size_t>(row)].rows();
    for (int64_t first = 0; first < tokens; first += kLogitTokens) {
      blocks.push_back({row, first, std::min(kLogitTokens, tokens - first)});
    }
  }
  return blocks;
}

}  // namespace

void LanguageModel::State::check_logits(const Tensor& piece, int64_t row, int64_t first) const {
  const int64_t at = backend->find_non_finite(piece);
  if (at < 0) return;
  fail(Code::kCorrupt, "{}: a logit is not finite (row {}, token {}), after the last layer",
       checkpoint.name, row, first + at / piece.cols);
}

void visit_logits(std::span<const LogitSource> sources,
                  const std::function<void(const LogitPiece& piece, int worker)>& visit) {
  RAM_CHECK(!sources.empty());
  LanguageModel::State& first_model = *sources.front().model->state_;
  const int64_t vocabulary = first_model.vocabulary();
  for (const LogitSource& source : sources) {
    RAM_CHECK(source.model->state_->vocabulary() == vocabulary);
    RAM_CHECK(source.hidden->size() == sources.front().hidden->size());
  }
  const std::vector<TokenBlock> blocks = blocks_of(*sources.front().hidden);
  for (int64_t first = 0; first < vocabulary; first += kLogitIds) {
    const int64_t last = std::min(vocabulary, first + kLogitIds);
    const AtScopeExit release([&] {
      for (const LogitSource& source : sources) source.model->state_->backend->release();
    });
    for (const LogitSource& source : sources) {
      const LanguageModel::State& state = *source.model->state_;
      state.backend->acquire_rows(state.checkpoint.head, first, last);
    }
    first_model.threads.run(std::ssize(blocks), [&](int64_t i, int worker) {
      check_interrupted();
      const TokenBlock& block = blocks[static_cast<size_t>(i)];
      std::vector<Tensor> pieces;
      std::vector<const float*> logits;
      for (const LogitSource& source : sources) {
        const LanguageModel::State& state = *source.model->state_;
        const Tensor normed = state.backend->norm_rows(
            source.hidden->at(static_cast<size_t>(block.row)), block.first, block.count,
            state.checkpoint.final_norm, state.config().rms_norm_eps);
        const Tensor& piece = pieces.emplace_back(
            state.backend->logits_of(normed, state.checkpoint.head, first, last));
        state.check_logits(piece, block.row, block.first);
        logits.push_back(state.backend->host(piece).data());
      }
      visit({.row = block.row,
             .first_token = block.first,
             .tokens = block.count,
             .first_id = first,
             .ids = last - first,
             .logits = logits},
            worker);
    });
  }
}

Matrix LanguageModel::logits(const Matrix& hidden) {
  Matrix out(hidden.rows(), state_->vocabulary());
  HiddenRows rows;
  rows.push_back(hidden.copy());
  const LogitSource source{.model = this, .hidden = &rows};
  visit_logits({&source, 1}, [&](const LogitPiece& piece, int) {
    for (int64_t i = 0; i < piece.tokens; ++i) {
      std::memcpy(out.row(piece.first_token + i) + piece.first_id, piece.logits[0] + i * piece.ids,
                  static_cast<size_t>(piece.ids) * 4);
    }
  });
  return out;
}

}  // namespace ram
