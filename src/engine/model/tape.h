// Records what a layer's stages do to one sequence, and takes the derivatives in reverse order.
//
// What an operation changes in place is copied first: the inputs of all recorded operations stay as
// they were.
#pragma once

#include <functional>
#include <unordered_map>
#include <vector>

#include "ram/engine.h"

#include "backend.h"

namespace ram {

class Tape final : public Operations {
 public:
  /// @param observe may be empty; must outlive the tape. @param row which row of the block it is
  ///        told.
  Tape(Backend& backend, const GradientObserver& observe, int64_t row);
  Tape(const Tape&) = delete;
  Tape& operator=(const Tape&) = delete;

  /// What is recorded from here on belongs to the next stage.
  void begin_stage();

  /// Sets the gradient of a number with respect to `y`, a tensor of the last stage.
  void seed(const Tensor& y, Tensor dy);
  /// Takes the derivatives of the latest stage that is left, and forgets what it recorded.
  /// @pre its weights are loaded by Backend::acquire_back.
  void back();
  /// The gradient with respect to x. @pre back() ran for every stage that uses x. Null: none.
  Tensor gradient(const Tensor& x) const;

  Tensor zeros(int64_t rows, int64_t cols) override;
  Tensor linear(const Tensor& x, int unit) override;
  Tensor rms_norm(const Tensor& x, int unit, double epsilon) override;
  void rope(Tensor& x, int layer, int64_t heads, int64_t position, int64_t step) override;
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                   SequenceState* state, int64_t position) override;
  Tensor attention_abreast(const Tensor& q, const Tensor& k, const Tensor& v,
                           const AttentionSpec& spec, std::span<SequenceState* const> states,
                           int64_t position) override;
  void add(Tensor& x, const Tensor& y) override;
  Tensor gated_linear(const Tensor& x, int gate, int up) override;
  void scale_by_sigmoid(Tensor& x, const Tensor& gate) override;
  Routing route(const Tensor& logits, const RouteSpec& spec) override;
  Tensor gather(const Tensor& x, const Routing& routing, ExpertRange range) override;
  Tensor grouped_linear(const Tensor& x, int unit, const Routing& routing,
                        ExpertRange range) override;
  Tensor grouped_gated_linear(const Tensor& x, int gate, int up, const Routing& routing,
                              ExpertRange range) override;
  void combine(Tensor& sum, const Tensor& y, const Routing& routing, ExpertRange range) override;

 private:
  /// `back` gets the gradient of y; it is skipped where y has none.
  void record(const Tensor& y, std::function<void(Tensor dy)> back);
  /// Adds to the gradient of x.
  void give(const Tensor& x, const Tensor& dx);
  Tensor copy(const Tensor& x);
  Tensor gated(const Tensor& gates, const Tensor& ups);
  void show(const Tensor& x, const Tensor& dy, int unit);
  void show_experts(const Tensor& x, const Tensor& dy, int unit, const Routing& routing,
                    ExpertRange range);

  struct Record {
    Tensor y;
    std::function<void(Tensor dy)> back;
  };
  Backend& backend_;
  const GradientObserver& observe_;
  int64_t row_;
  std::vector<std::vector<Record>> stages_;
  std::unordered_map<const Storage*, Tensor> gradients_;  // keeps the storages' addresses unique
  std::unordered_map<const Storage*, Tensor> weight_gradients_;  // of a routing
};

}  // namespace ram
