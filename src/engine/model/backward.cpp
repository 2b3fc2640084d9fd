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
  void add(const float* logits, int64_t count) {
    const double largest = *std::max_element(logits, logits + count);
    double piece = 0;
    for (int64_t i = 0; i < count; ++i) piece += std::exp(logits[i] - largest);
    const double top = std::max(most, largest);
    sum = sum * std::exp(most - top) + piece * std::exp(largest - top);
    most = top;
  }
  double value() const { return most + std::log(sum); }

  double most = -std::numeric_limits<double>::infinity();
  double sum = 0;
};

std::vector<std::vector<LogSum>> log_sums(LanguageModel& model, const HiddenRows& hidden) {
  std::vector<std::vector<LogSum>> sums;
  for (const Matrix& row : hidden) sums.emplace_back(static_cast<size_t>(row.rows()));
  const LogitSource source{.model = &model, .hidden = &hidden};
  visit_logits({&source, 1}, [&](const LogitPiece& piece, int) {
    for (int64_t t = 0; t < piece.tokens; ++t) {
      sums[static_cast<size_t>(piece.row)][static_cast<size_t>(piece.first_token + t)].add(
          piece.logits[0] + t * piece.ids, piece.ids);
    }
  });
  return sums;
}

}  // namespace

double LanguageModel::gradient_square(const LinearGradient& gradient) {
  return state_->backend->gradient_square(gradient);
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
  const std::vector<std::vector<LogSum>> sums = log_sums(*this, hidden);
  std::vector<Tensor> normed;
  std::vector<Tensor> back;  // the gradients of `normed`
  for (const Matrix& row : hidden) {
    normed.push_back(backend.norm_rows(row, 0, row.rows(), norm, epsilon));
    back.push_back(backend.zeros(row.rows(), row.cols()));
  }
  for (int64_t first = 0; first < state.vocabulary(); first += kLogitIds) {
    const int64_t last = std::min(state.vocabulary(), first + kLogitIds);
    const AtScopeExit release([&] { backend.release(); });
    backend.acquire_rows(head, first, last);
    backend.acquire_rows_back(head, first, last);
    for (size_t r = 0; r < hidden.size(); ++r) {
      check_interrupted();
      const int64_t tokens = hidden[r].rows();
      Matrix gradients(tokens, last - first);
      const int64_t ids = backend.ids_at_once(head);
      state.threads.run(ceil_div(last - first, ids), [&](int64_t i, int) {
        const int64_t from = first + i * ids;
        const int64_t to = std::min(last, from + ids);
        const Tensor logits = backend.logits_of(normed[r], head, from, to);
        const float* values = backend.host(logits).data();
        for (int64_t t = 0; t < tokens; ++t) {
          const int32_t label = labels[r].at(static_cast<size_t>(t));
          const double sum = sums[r][static_cast<size_t>(t)].value();
          float* out = gradients.row(t) + (from - first);
          for (int64_t id = from; id < to; ++id) {
            const double p = std::exp(values[t * (to - from) + id - from] - sum);
            out[id - from] = label < 0 ? 0 : static_cast<float>((id == label ? 1 : 0) - p);
          }
        }
      });
      const Tensor dy = backend.upload(std::move(gradients));
      if (observe) {
        observe({.unit = head,
                 .first_row = first,
                 .row = static_cast<int64_t>(r),
                 .inputs = backend.host(normed[r]).data(),
                 .gradients = backend.host(dy).data(),
                 .tokens = tokens,
                 .cols = normed[r].cols,
                 .rows = last - first});
      }
      backend.add(back[r], backend.logits_back(dy, head, first));
    }
  }
  HiddenRows result;
  for (size_t r = 0; r < hidden.size(); ++r) {
    const Tensor x = backend.upload(hidden[r].copy());
    result.push_back(backend.to_matrix(backend.rms_norm_back(x, back[r], norm, epsilon)));
  }
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
    for (Recorded& row : recorded) {
      row.tape.begin_stage();
      stage.run(row.tape, row.sequence);
    }
  }
  for (size_t i = 0; i < recorded.size(); ++i) {
    recorded[i].tape.seed(recorded[i].sequence.hidden, state.backend->upload(std::move(taken[i])));
  }
  for (size_t s = stages.size(); s-- > 0;) {
    check_interrupted();
    const AtScopeExit release([&] { state.backend->release(); });
    state.backend->acquire_back(stages[s].weights);
    for (Recorded& row : recorded) row.tape.back();
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
