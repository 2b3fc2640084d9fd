// Sums per token become losses and divergences per row, added in the order of the tokens.
#include "scores.h"

#include <cmath>

#include "ram/error.h"
#include "ram/eval.h"

namespace ram {

BlockScores::BlockScores(std::span<const TokenRow> rows, int models)
    : rows_(rows), models_(models) {
  RAM_CHECK(models >= 1);
  int64_t tokens = 0;
  for (const TokenRow& row : rows) {
    first_.push_back(tokens);
    tokens += std::ssize(row) - 1;  // the last token has no successor to predict
  }
  const auto count = static_cast<size_t>(tokens);
  sums_.resize(count * static_cast<size_t>(models));
  targets_.resize(count * static_cast<size_t>(models));
  cross_.resize(count * static_cast<size_t>(models - 1));
}

void BlockScores::add(const LogitPiece& piece) {
  RAM_CHECK(std::ssize(piece.logits) == models_);
  const TokenRow& row = rows_[static_cast<size_t>(piece.row)];
  std::vector<const float*> logits(static_cast<size_t>(models_));
  for (int64_t t = 0; t < piece.tokens; ++t) {
    const int64_t position = piece.first_token + t;
    if (position + 1 >= std::ssize(row)) break;
    const int64_t token = first_[static_cast<size_t>(piece.row)] + position;
    const auto place = static_cast<size_t>(token * models_);
    for (int m = 0; m < models_; ++m) {
      logits[static_cast<size_t>(m)] = piece.logits[static_cast<size_t>(m)] + t * piece.ids;
    }
    const int64_t target = row[static_cast<size_t>(position + 1)] - piece.first_id;
    if (target >= 0 && target < piece.ids) {
      for (int m = 0; m < models_; ++m) {
        targets_[place + static_cast<size_t>(m)] = logits[static_cast<size_t>(m)][target];
      }
    }
    double* cross = cross_.data() + token * (models_ - 1);
    add_logits_of_all(&sums_[place], cross, logits.data(), models_ - 1, piece.first_id, piece.ids);
  }
}

double BlockScores::loss(int model, int64_t token) const {
  const auto place = static_cast<size_t>(token * models_ + model);
  return sums_[place].log_sum_exp() - static_cast<double>(targets_[place]);
}

RowScore BlockScores::score(int model, int64_t row) const {
  RowScore score;
  score.tokens = std::ssize(rows_[static_cast<size_t>(row)]) - 1;
  for (int64_t t = 0; t < score.tokens; ++t) {
    score.nll_sum += loss(model, first_[static_cast<size_t>(row)] + t);
  }
  return score;
}

RowDivergence BlockScores::divergence_of(int model, int64_t row) const {
  RAM_CHECK(model >= 1 && model < models_);
  const int64_t tokens = std::ssize(rows_[static_cast<size_t>(row)]) - 1;
  RowDivergence result;
  result.kl.reserve(static_cast<size_t>(tokens));
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t token = first_[static_cast<size_t>(row)] + t;
    const LogitSum& reference = sums_[static_cast<size_t>(token * models_)];
    const LogitSum& other = sums_[static_cast<size_t>(token * models_ + model)];
    const double cross = cross_[static_cast<size_t>(token * (models_ - 1) + model - 1)];
    result.kl.push_back(static_cast<float>(divergence(reference, other, cross)));
    result.same_top1 += reference.likeliest == other.likeliest ? 1 : 0;
    const double change = std::exp(-loss(model, token)) - std::exp(-loss(0, token));
    result.change_sum += change;
    result.change_squares += change * change;
  }
  return result;
}

RowSums row_sums(std::span<const TokenRow> rows, std::span<const LogitSource> sources) {
  const int models = static_cast<int>(sources.size());
  BlockScores scores(rows, models);
  visit_logits(sources, [&](const LogitPiece& piece, int) { scores.add(piece); });
  RowSums sums;
  for (int m = 0; m < models; ++m) {
    std::vector<double>& losses = sums.nll.emplace_back();
    std::vector<double> divergences;
    for (int64_t row = 0; row < std::ssize(rows); ++row) {
      losses.push_back(scores.score(m, row).nll_sum);
      if (m == 0) continue;
      double sum = 0;
      for (const float kl : scores.divergence_of(m, row).kl) sum += static_cast<double>(kl);
      divergences.push_back(sum);
    }
    if (m > 0) sums.kl.push_back(std::move(divergences));
  }
  return sums;
}

std::vector<std::vector<double>> divergence_sums(std::span<const TokenRow> rows,
                                                 std::span<const LogitSource> sources) {
  return row_sums(rows, sources).kl;
}

}  // namespace ram
