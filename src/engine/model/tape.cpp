#include "model/tape.h"

#include <utility>

#include "ram/error.h"

namespace ram {

Tape::Tape(Backend& backend, const GradientObserver& observe, int64_t row)
    : backend_(backend), observe_(observe), row_(row) {}

void Tape::begin_stage() {
  stages_.emplace_back();
}

void Tape::record(const Tensor& y, std::function<void(Tensor dy)> back) {
  stages_.back().push_back({.y = y, .back = std::move(back)});
}

void Tape::seed(const Tensor& y, Tensor dy) {
  RAM_CHECK(y.rows == dy.rows && y.cols == dy.cols);
  gradients_[y.storage.get()] = std::move(dy);
}

void Tape::back() {
  for (; !stages_.back().empty(); stages_.back().pop_back()) {
    Record& record = stages_.back().back();
    const auto at = gradients_.find(record.y.storage.get());
    if (at == gradients_.end()) continue;
    Tensor dy = std::move(at->second);
    gradients_.erase(at);
    record.back(std::move(dy));
  }
  stages_.pop_back();
}

Tensor Tape::gradient(const Tensor& x) const {
  const auto at = gradients_.find(x.storage.get());
  return at == gradients_.end() ? Tensor{} : at->second;
}

void Tape::give(const Tensor& x, const Tensor& dx) {
  const auto [at, fresh] = gradients_.try_emplace(x.storage.get(), dx);
  if (fresh) return;
  // What is there may be shared with another tensor's gradient.
  Tensor sum = copy(at->second);
  backend_.add(sum, dx);
  at->second = std::move(sum);
}

Tensor Tape::copy(const Tensor& x) {
  return backend_.copy_rows(x, 0, x.rows);
}

void Tape::show(const Tensor& x, const Tensor& dy, int unit) {
  if (!observe_) return;
  observe_({.unit = unit,
            .row = row_,
            .inputs = backend_.host(x).data(),
            .gradients = backend_.host(dy).data(),
            .tokens = x.rows,
            .cols = x.cols,
            .rows = dy.cols});
}

void Tape::show_experts(const Tensor& x, const Tensor& dy, int unit, const Routing& routing,
                        ExpertRange range) {
  if (!observe_) return;
  for (const ExpertRows& rows : backend_.expert_rows(routing, range)) {
    observe_({.unit = unit,
              .part = rows.expert,
              .row = row_,
              .inputs = backend_.host(x).data() + rows.begin * x.cols,
              .gradients = backend_.host(dy).data() + rows.begin * dy.cols,
              .tokens = rows.count,
              .cols = x.cols,
              .rows = dy.cols});
  }
}

Tensor Tape::zeros(int64_t rows, int64_t cols) {
  return backend_.zeros(rows, cols);
}

Tensor Tape::linear(const Tensor& x, int unit) {
  Tensor y = backend_.linear(x, unit);
  record(y, [this, x, unit](const Tensor& dy) {
    show(x, dy, unit);
    give(x, backend_.linear_back(dy, unit));
  });
  return y;
}

Tensor Tape::rms_norm(const Tensor& x, int unit, double epsilon) {
  Tensor y = backend_.rms_norm(x, unit, epsilon);
  record(y, [this, x, unit, epsilon](const Tensor& dy) {
    give(x, backend_.rms_norm_back(x, dy, unit, epsilon));
  });
  return y;
}

void Tape::rope(Tensor& x, int layer, int64_t heads, int64_t position, int64_t step) {
  RAM_CHECK(step == 1);
  const Tensor before = x;
  x = copy(x);
  backend_.rope(x, layer, heads, position, step);
  record(x, [this, before, layer, heads, position](const Tensor& dy) {
    Tensor dx = copy(dy);
    backend_.rope_back(dx, layer, heads, position);
    give(before, dx);
  });
}

Tensor Tape::attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                       SequenceState* state, int64_t position) {
  RAM_CHECK(state == nullptr && position == 0);
  Tensor y = backend_.attention(q, k, v, spec, state, position);
  record(y, [this, q, k, v, spec](const Tensor& dy) {
    const AttentionGradients gradients = backend_.attention_back(q, k, v, dy, spec);
    give(q, gradients.q);
    give(k, gradients.k);
    give(v, gradients.v);
  });
  return y;
}

Tensor Tape::attention_abreast(const Tensor&, const Tensor&, const Tensor&, const AttentionSpec&,
                               std::span<SequenceState* const>, int64_t) {
  fail(Code::kInternal, "defect in ram: tokens that are generated have no gradients");
}

void Tape::add(Tensor& x, const Tensor& y) {
  const Tensor before = x;
  x = copy(x);
  backend_.add(x, y);
  record(x, [this, before, y](const Tensor& dy) {
    give(before, dy);
    give(y, dy);
  });
}

Tensor Tape::gated(const Tensor& gates, const Tensor& ups) {
  Tensor y = backend_.gate(gates, ups);
  record(y, [this, gates, ups](const Tensor& dy) {
    const GateGradients gradients = backend_.gate_back(gates, ups, dy);
    give(gates, gradients.gate);
    give(ups, gradients.up);
  });
  return y;
}

Tensor Tape::gated_linear(const Tensor& x, int gate, int up) {
  const Tensor gates = linear(x, gate);
  const Tensor ups = linear(x, up);
  return gated(gates, ups);
}

void Tape::scale_by_sigmoid(Tensor& x, const Tensor& gate) {
  const Tensor before = x;
  x = copy(x);
  backend_.scale_by_sigmoid(x, gate);
  record(x, [this, before, gate](const Tensor& dy) {
    Tensor dx = copy(dy);
    give(gate, backend_.scale_by_sigmoid_back(before, gate, dx));
    give(before, dx);
  });
}

Routing Tape::route(const Tensor& logits, const RouteSpec& spec) {
  Routing routing = backend_.route(logits, spec);
  const Tensor dweights = backend_.zeros(logits.rows, logits.cols);
  weight_gradients_[routing.storage.get()] = dweights;
  // The gradient is that of the weights, to which every combine() adds.
  gradients_[dweights.storage.get()] = dweights;
  record(dweights, [this, routing, logits, spec](const Tensor& dweights_now) {
    give(logits, backend_.route_back(dweights_now, routing, logits, spec));
    weight_gradients_.erase(routing.storage.get());
  });
  return routing;
}

Tensor Tape::gather(const Tensor& x, const Routing& routing, ExpertRange range) {
  Tensor y = backend_.gather(x, routing, range);
  record(y, [this, x, routing, range](const Tensor& dy) {
    Tensor dx = backend_.zeros(x.rows, x.cols);
    backend_.gather_back(dx, dy, routing, range);
    give(x, dx);
  });
  return y;
}

Tensor Tape::grouped_linear(const Tensor& x, int unit, const Routing& routing, ExpertRange range) {
  Tensor y = backend_.grouped_linear(x, unit, routing, range);
  record(y, [this, x, unit, routing, range](const Tensor& dy) {
    show_experts(x, dy, unit, routing, range);
    give(x, backend_.grouped_linear_back(dy, unit, routing, range));
  });
  return y;
}

Tensor Tape::grouped_gated_linear(const Tensor& x, int gate, int up, const Routing& routing,
                                  ExpertRange range) {
  const Tensor gates = grouped_linear(x, gate, routing, range);
  const Tensor ups = grouped_linear(x, up, routing, range);
  return gated(gates, ups);
}

void Tape::combine(Tensor& sum, const Tensor& y, const Routing& routing, ExpertRange range) {
  const Tensor before = sum;
  sum = copy(sum);
  backend_.combine(sum, y, routing, range);
  record(sum, [this, before, y, routing, range](const Tensor& dsum) {
    Tensor& dweights = weight_gradients_.at(routing.storage.get());
    give(y, backend_.combine_back(dsum, y, routing, range, dweights));
    give(before, dsum);
  });
}

}  // namespace ram
