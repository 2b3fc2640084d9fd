// A layer backwards: its stages again, recorded, then their derivatives in reverse order.
#include <algorithm>
#include <deque>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/scoped.h"
#include "ram/size.h"

#include "matrix.h"
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

namespace {

/// likelihood_gradients of rows [begin, end) of a block.
class HeadBack {
 public:
  HeadBack(LanguageModel& model, LanguageModel::State& state, const HiddenRows& hidden,
           std::span<const TokenRow> labels, const GradientObserver& observe)
      : state_(state),
        backend_(*state.backend),
        hidden_(hidden),
        labels_(labels),
        observe_(observe),
        head_(state.checkpoint.head),
        rows_(hidden.size()),
        result_(hidden.size()) {
    int64_t longest = 1;
    for (const Matrix& row : hidden) longest = std::max(longest, row.rows());
    kept_rows_ = model.kept_logit_rows(longest);
  }

  HiddenRows run() {
    const int64_t rows = std::ssize(hidden_);
    // Logits are kept only if every thread has a row; else they are computed twice.
    const bool keep = kept_rows_ > 0;
    const int64_t step = keep ? kept_rows_ : std::max<int64_t>(1, rows);
    for (int64_t begin = 0; begin < rows; begin += step) {
      begin_ = begin;
      end_ = std::min(rows, begin + step);
      start();
      sum(keep);
      back(keep);
      finish();
    }
    return std::move(result_);
  }

 private:
  struct Row {
    Tensor normed;
    Tensor back;               // the gradient of `normed`
    std::vector<ExpSum> sums;  // by token
    std::vector<Tensor> kept;  // logits, in pieces
  };

  void for_each_row(const std::function<void(size_t row)>& task) {
    state_.for_each_row(end_ - begin_, [&](int64_t i) {
      check_interrupted();
      task(static_cast<size_t>(begin_ + i));
    });
  }

  void start() {
    for_each_row([&](size_t r) {
      Row& row = rows_[r];
      row.normed = backend_.norm_rows(hidden_[r], 0, hidden_[r].rows(), norm(), epsilon());
      row.back = backend_.zeros(hidden_[r].rows(), hidden_[r].cols());
      row.sums.resize(static_cast<size_t>(hidden_[r].rows()));
    });
  }

  void sum(bool keep) {
    for (int64_t first = 0; first < state_.vocabulary(); first += kLogitIds) {
      const int64_t last = std::min(state_.vocabulary(), first + kLogitIds);
      const AtScopeExit release([&] { backend_.release(); });
      backend_.acquire_rows(head_, first, last);
      for_each_row([&](size_t r) {
        Row& row = rows_[r];
        Tensor y = backend_.logits_of(row.normed, head_, first, last);
        state_.check_logits(y, static_cast<int64_t>(r), 0);
        const std::span<const float> logits = backend_.host(y);
        for (int64_t t = 0; t < y.rows; ++t) {
          const auto of_token =
              logits.subspan(static_cast<size_t>(t * y.cols), static_cast<size_t>(y.cols));
          row.sums[static_cast<size_t>(t)].add(backend_.exp_sum(of_token));
        }
        if (keep) row.kept.push_back(std::move(y));
      });
    }
  }

  void back(bool kept) {
    for (int64_t first = 0; first < state_.vocabulary(); first += kLogitIds) {
      const int64_t last = std::min(state_.vocabulary(), first + kLogitIds);
      const AtScopeExit release([&] { backend_.release(); });
      if (!kept) backend_.acquire_rows(head_, first, last);
      backend_.acquire_rows_back(head_, first, last);
      for_each_row([&](size_t r) {
        Row& row = rows_[r];
        Tensor dy = kept ? std::exchange(row.kept[static_cast<size_t>(first / kLogitIds)], {})
                         : backend_.logits_of(row.normed, head_, first, last);
        std::vector<double> sums;
        sums.reserve(row.sums.size());
        for (const ExpSum& token : row.sums) sums.push_back(token.log());
        backend_.likelihood_back(dy, labels_[r], sums, first);
        if (observe_) {
          observe_({.unit = head_,
                    .first_row = first,
                    .row = static_cast<int64_t>(r),
                    .inputs = backend_.host(row.normed).data(),
                    .gradients = backend_.host(dy).data(),
                    .tokens = dy.rows,
                    .cols = row.normed.cols,
                    .rows = last - first});
        }
        backend_.add(row.back, backend_.logits_back(dy, head_, first));
      });
    }
  }

  void finish() {
    for_each_row([&](size_t r) {
      const Tensor x = backend_.upload(hidden_[r].copy());
      result_[r] = backend_.to_matrix(backend_.rms_norm_back(x, rows_[r].back, norm(), epsilon()));
      rows_[r] = {};
    });
  }

  int norm() const { return state_.checkpoint.final_norm; }
  double epsilon() const { return state_.config().rms_norm_eps; }

  LanguageModel::State& state_;
  Backend& backend_;
  const HiddenRows& hidden_;
  std::span<const TokenRow> labels_;
  const GradientObserver& observe_;
  int head_;
  std::vector<Row> rows_;
  HiddenRows result_;
  int64_t kept_rows_ = 0;
  int64_t begin_ = 0;
  int64_t end_ = 0;
};

}  // namespace

int64_t LanguageModel::kept_logit_rows(int64_t length) const {
  constexpr int64_t kMost = int64_t{512} << 20;  // bytes
  const int64_t room = std::min(kMost, state_->backend->usable_bytes() - pass_bytes(length));
  const int64_t threads = state_->threads.threads();
  return std::max<int64_t>(0, room) / kept_logit_bytes(length) / threads * threads;
}

int64_t LanguageModel::kept_logit_bytes(int64_t length) const {
  const int64_t bytes = 4 * padded_rows(length) * state_->vocabulary();
  return bytes + bytes / 8;  // buffers are rounded up
}

HiddenRows LanguageModel::likelihood_gradients(const HiddenRows& hidden,
                                               std::span<const TokenRow> labels,
                                               const GradientObserver& observe) {
  RAM_CHECK(state_->options.precision == Precision::kF32 && labels.size() == hidden.size());
  return HeadBack(*this, *state_, hidden, labels, observe).run();
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
