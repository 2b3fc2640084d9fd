// A layer backwards: its stages again, recorded, then their derivatives in reverse order.
#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <utility>
#include <vector>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/scoped.h"
#include "ram/size.h"

#include "model/state.h"
#include "model/tape.h"

namespace ram {
namespace {

/// What is recorded of a row: its sequence, and the layer's input, which the stages replace.
struct Recorded {
  Recorded(Backend& backend, const GradientObserver& observe, int64_t row, const Matrix& hidden)
      : tape(backend, observe, row), input(backend.upload(hidden.copy())) {
    sequence.hidden = input;
  }
  Tape tape;
  Tensor input;
  Sequence sequence;
};

/// log(sum of exp) of a token's logits, of which one piece comes after another.
struct LogSum {
  void add(const ExpSum& piece) {
    const double top = std::max(most, double{piece.largest});
    sum = sum * std::exp(most - top) + piece.sum * std::exp(piece.largest - top);
    most = top;
  }
  double value() const { return most + std::log(sum); }

  double most = -std::numeric_limits<double>::infinity();
  double sum = 0;
};

/// log(sum of exp) of each token's logits, of all rows.
std::vector<std::vector<double>> log_sums(LanguageModel& model, Backend& backend,
                                          const HiddenRows& hidden) {
  std::vector<std::vector<LogSum>> pieces;
  for (const Matrix& row : hidden) pieces.emplace_back(static_cast<size_t>(row.rows()));
  const LogitSource source{.model = &model, .hidden = &hidden};
  visit_logits({&source, 1}, [&](const LogitPiece& piece, int) {
    std::vector<LogSum>& row = pieces[static_cast<size_t>(piece.row)];
    for (int64_t t = 0; t < piece.tokens; ++t) {
      const std::span logits(piece.logits[0] + t * piece.ids, static_cast<size_t>(piece.ids));
      row[static_cast<size_t>(piece.first_token + t)].add(backend.exp_sum(logits));
    }
  });
  std::vector<std::vector<double>> sums;
  for (const std::vector<LogSum>& row : pieces) {
    std::vector<double>& values = sums.emplace_back();
    for (const LogSum& token : row) values.push_back(token.value());
  }
  return sums;
}

}  // namespace

double LanguageModel::gradient_square(const LinearGradient& gradient) {
  return state_->backend->gradient_square(gradient);
}

void LanguageModel::State::for_each_row(int64_t rows, const std::function<void(int64_t)>& task) {
  if (rows >= threads.threads()) {
    threads.run(rows, [&](int64_t row, int) { task(row); });
  } else {
    for (int64_t row = 0; row < rows; ++row) task(row);
  }
}

HiddenRows LanguageModel::likelihood_gradients(const HiddenRows& hidden,
                                               std::span<const TokenRow> labels,
                                               const GradientObserver& observe) {
  State& state = *state_;
  RAM_CHECK(state.options.precision == Precision::kF32 && labels.size() == hidden.size());
  Backend& backend = *state.backend;
  const int head = state.checkpoint.head;
  const int norm = state.checkpoint.final_norm;
  const double epsilon = state.config().rms_norm_eps;
  const int64_t rows = std::ssize(hidden);
  std::vector<Tensor> normed(hidden.size());
  std::vector<Tensor> back(hidden.size());  // the gradients of `normed`
  const std::vector<std::vector<double>> sums = log_sums(*this, backend, hidden);
  state.for_each_row(rows, [&](int64_t i) {
    const auto r = static_cast<size_t>(i);
    normed[r] = backend.norm_rows(hidden[r], 0, hidden[r].rows(), norm, epsilon);
    back[r] = backend.zeros(hidden[r].rows(), hidden[r].cols());
  });

  for (int64_t first = 0; first < state.vocabulary(); first += kLogitIds) {
    const int64_t last = std::min(state.vocabulary(), first + kLogitIds);
    const AtScopeExit release([&] { backend.release(); });
    backend.acquire_rows(head, first, last);
    backend.acquire_rows_back(head, first, last);
    state.for_each_row(rows, [&](int64_t i) {
      check_interrupted();
      const auto r = static_cast<size_t>(i);
      Tensor dy = backend.logits_of(normed[r], head, first, last);
      backend.likelihood_back(dy, labels[r], sums[r], first);
      if (observe) {
        observe({.unit = head,
                 .first_row = first,
                 .row = i,
                 .inputs = backend.host(normed[r]).data(),
                 .gradients = backend.host(dy).data(),
                 .tokens = dy.rows,
                 .cols = normed[r].cols,
                 .rows = last - first});
      }
      backend.add(back[r], backend.logits_back(dy, head, first));
    });
  }

  HiddenRows result(hidden.size());
  state.for_each_row(rows, [&](int64_t i) {
    const auto r = static_cast<size_t>(i);
    const Tensor x = backend.upload(hidden[r].copy());
    result[r] = backend.to_matrix(backend.rms_norm_back(x, back[r], norm, epsilon));
  });
  return result;
}

void LanguageModel::run_back(HiddenRows& gradients, const HiddenRows& inputs, int layer,
                             const GradientObserver& observe) {
  State& state = *state_;
  RAM_CHECK(state.options.precision == Precision::kF32);
  RAM_CHECK(layer >= 0 && layer < layers() && gradients.size() == inputs.size());
  PassRows rows;
  for (const Matrix& input : inputs) {
    rows.fewest = std::min(rows.fewest, input.rows());
    rows.most = std::max(rows.most, input.rows());
  }
  HiddenRows taken = std::exchange(gradients, {});
  state.make_room(rows);
  state.backend->begin_pass(rows, rows.most);
  std::deque<Recorded> recorded;
  for (size_t i = 0; i < inputs.size(); ++i) {
    recorded.emplace_back(*state.backend, observe, static_cast<int64_t>(i), inputs[i]);
  }
  const std::vector<Stage>& stages = state.layers.at(static_cast<size_t>(layer));
  for (const Stage& stage : stages) {
    check_interrupted();
    const AtScopeExit release([&] { state.backend->release(); });
    state.backend->acquire(stage.weights, rows);
    state.for_each_row(std::ssize(inputs), [&](int64_t i) {
      Recorded& row = recorded[static_cast<size_t>(i)];
      row.tape.begin_stage();
      stage.run(row.tape, row.sequence);
    });
  }
  for (size_t i = 0; i < recorded.size(); ++i) {
    recorded[i].tape.seed(recorded[i].sequence.hidden, state.backend->upload(std::move(taken[i])));
  }
  for (size_t s = stages.size(); s-- > 0;) {
    check_interrupted();
    const AtScopeExit release([&] { state.backend->release(); });
    state.backend->acquire_back(stages[s].weights);
    state.for_each_row(std::ssize(inputs),
                       [&](int64_t i) { recorded[static_cast<size_t>(i)].tape.back(); });
  }
  HiddenRows back;
  for (size_t i = 0; i < recorded.size(); ++i) {
    const Tensor gradient = recorded[i].tape.gradient(recorded[i].input);
    if (const int64_t at = state.backend->find_non_finite(gradient); at >= 0) {
      fail(Code::kCorrupt, "{}: the gradient before layer {} is not finite (row {}, token {})",
           state.checkpoint.name, layer, i, at / gradient.cols);
    }
    back.push_back(state.backend->to_matrix(gradient));
  }
  gradients = std::move(back);
}

}  // namespace ram
