// From hidden states to logits, a piece of the vocabulary at a time.
#include <algorithm>
#include <cstring>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/scoped.h"

#include "cpu/kernels.h"
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
    for (int64_t first = 0; first < tokens; first += kRowBlock) {
      blocks.push_back({row, first, std::min(kRowBlock, tokens - first)});
    }
  }
  return blocks;
}

void check_logits(const LanguageModel::State& state, const float* logits, int64_t tokens,
                  int64_t ids, const TokenBlock& block) {
  const int64_t at = find_non_finite_float(logits, tokens * ids);
  if (at < 0) return;
  fail(Code::kCorrupt, "{}: a logit is not finite (row {}, token {}), after the last layer",
       state.checkpoint.name, block.row, block.first + at / ids);
}

}  // namespace

void visit_logits(std::span<const LogitSource> sources,
                  const std::function<void(const LogitPiece& piece, int worker)>& visit) {
  RAM_CHECK(!sources.empty());
  LanguageModel::State& first_model = sources.front().model->state();
  const int64_t vocabulary = first_model.vocabulary();
  for (const LogitSource& source : sources) {
    RAM_CHECK(source.model->state().vocabulary() == vocabulary);
    RAM_CHECK(source.hidden->size() == sources.front().hidden->size());
  }
  const std::vector<TokenBlock> blocks = blocks_of(*sources.front().hidden);
  for (int64_t first = 0; first < vocabulary; first += kPieceRows) {
    const int64_t last = std::min(vocabulary, first + kPieceRows);
    const AtScopeExit release([&] {
      for (const LogitSource& source : sources) source.model->state().weights.release();
    });
    for (const LogitSource& source : sources) {
      LanguageModel::State& state = source.model->state();
      state.weights.acquire_rows(state.head, first, last);
    }
    first_model.threads.run(std::ssize(blocks), [&](int64_t i, int worker) {
      check_interrupted();
      const TokenBlock& block = blocks[static_cast<size_t>(i)];
      std::vector<std::shared_ptr<std::byte>> buffers;
      std::vector<const float*> logits;
      for (const LogitSource& source : sources) {
        LanguageModel::State& state = source.model->state();
        const Matrix& hidden = source.hidden->at(static_cast<size_t>(block.row));
        const auto normed = state.normed(hidden.row(block.first), block.count);
        auto out = state.buffers->take(padded_rows(block.count) * (last - first) * 4);
        auto* values = reinterpret_cast<float*>(out.get());
        state.backend.multiply_rows(reinterpret_cast<const float*>(normed.get()), block.count,
                                    state.head, first, last, values);
        check_logits(state, values, block.count, last - first, block);
        logits.push_back(values);
        buffers.push_back(std::move(out));
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
