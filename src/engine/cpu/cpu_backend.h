// The backend on the CPU: oneDNN for products, Highway for the rest; work is split by shapes alone
// and spread over a thread pool.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "ram/size.h"
#include "ram/thread.h"

#include "backend.h"
#include "cpu/buffer.h"
#include "cpu/memory.h"
#include "cpu/products.h"
#include "cpu/rope.h"
#include "cpu/routing.h"
#include "cpu/sequence_state.h"
#include "cpu/weights.h"

namespace ram {

/// The floats of a tensor of the CPU backend: [padded_rows(rows), cols].
float* cpu_data(const Tensor& tensor);

/// make_backend("cpu", resources).
std::unique_ptr<Backend> make_cpu_backend(const BackendResources& resources);

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(const BackendResources& resources);

  Tensor upload(Matrix values) override;
  Matrix to_matrix(Tensor x) override;
  std::span<const float> host(const Tensor& x) override;
  Tensor copy_rows(const Tensor& x, int64_t first, int64_t count) override;
  Tensor zeros(int64_t rows, int64_t cols) override;
  int64_t find_non_finite(const Tensor& x) override;

  Tensor embed(int unit, std::span<const int32_t> ids) override;
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

  Tensor linear_back(const Tensor& dy, int unit) override;
  Tensor logits_back(const Tensor& dy, int unit, int64_t first_id) override;
  Tensor rms_norm_back(const Tensor& x, const Tensor& dy, int unit, double epsilon) override;
  void rope_back(Tensor& dy, int layer, int64_t heads, int64_t position) override;
  AttentionGradients attention_back(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Tensor& dy, const AttentionSpec& spec) override;
  Tensor gate(const Tensor& gate, const Tensor& up) override;
  GateGradients gate_back(const Tensor& gate, const Tensor& up, const Tensor& dy) override;
  Tensor scale_by_sigmoid_back(const Tensor& x, const Tensor& gate, Tensor& dy) override;
  Tensor route_back(const Tensor& dweights, const Routing& routing, const Tensor& logits,
                    const RouteSpec& spec) override;
  void gather_back(Tensor& dx, const Tensor& dy, const Routing& routing,
                   ExpertRange range) override;
  Tensor grouped_linear_back(const Tensor& dy, int unit, const Routing& routing,
                             ExpertRange range) override;
  Tensor combine_back(const Tensor& dsum, const Tensor& y, const Routing& routing,
                      ExpertRange range, Tensor& dweights) override;
  void likelihood_back(Tensor& logits, std::span<const int32_t> labels,
                       std::span<const double> log_sums, int64_t first_id) override;
  double gradient_square(const LinearGradient& gradient) override;
  std::vector<ExpertRows> expert_rows(const Routing& routing, ExpertRange range) override;

  Tensor logits(const Tensor& x, int unit) override;
  Tensor norm_rows(const Matrix& hidden, int64_t first, int64_t count, int unit,
                   double epsilon) override;
  Tensor logits_of(const Tensor& x, int unit, int64_t first_id, int64_t last_id) override;
  ExpSum exp_sum(std::span<const float> logits) override;
  int64_t ids_at_once(int unit) const override { return weights_.packed(unit, 0).panel_rows; }

  std::unique_ptr<SequenceState> make_state() override;
  void grow(SequenceState& state, int64_t tokens, int64_t held) override;

  void set_steps(StepWeights steps) override { memory_.set_steps(std::move(steps)); }
  int experts_at_once() const override { return memory_.experts_at_once(); }
  bool make_room(const PassRows& rows) override {
    return memory_.make_room(rows.most, has_few(rows));
  }
  void begin_pass(const PassRows& rows, int64_t positions) override;
  void watch(const InputObserver* observe, int64_t row, std::vector<int> until) override;
  void keep_rows_apart(bool on) override { rows_apart_ = on; }

  void acquire(std::span<const WeightSlice> slices, const PassRows& rows) override;
  void acquire_rows(int unit, int64_t first, int64_t last) override {
    weights_.acquire_rows(unit, first, last);
  }
  void acquire_back(std::span<const WeightSlice> slices) override {
    weights_.acquire_transposed(slices);
  }
  void acquire_rows_back(int unit, int64_t first, int64_t last) override {
    weights_.acquire_transposed_rows(unit, first, last);
  }
  void release() override { weights_.release(); }
  void prefetch(std::span<const WeightSlice> slices, const PassRows& rows) const override;
  bool keeps_weights() const override { return weights_.keeps(Form::kPacked); }
  void set_unit(int unit, UnitRows values) override { weights_.set_unit(unit, std::move(values)); }
  void restore_unit(int unit) override { weights_.restore_unit(unit); }

  int64_t pass_bytes(int64_t length) const override { return memory_.pass_bytes(length); }
  int64_t row_bytes(int64_t length) const override { return memory_.row_bytes(length); }
  int64_t logits_bytes(int64_t models) const override { return memory_.logits_bytes(models); }
  int64_t step_bytes() const override { return memory_.step_bytes(); }
  int64_t rows_at_once(int64_t length) const override { return memory_.rows_at_once(length); }
  int64_t usable_bytes() const override { return memory_.usable_bytes(); }

  /// The source of memory for tensors, states and weights.
  const BufferPool& buffers() const { return *buffers_; }

 private:
  /// Rows [begin, begin + count) of x times one part of a unit.
  struct Block {
    int part = 0;
    int64_t begin = 0;
    int64_t count = 0;
    const int32_t* positions = nullptr;  // as in LinearInput
  };

  /// The form of the weights for products of this many rows. With packed weights a row gets the
  /// same bits regardless of the other rows.
  Form form_for(int64_t rows) const {
    return rows <= kFewRows && !rows_apart_ ? Form::kStored : Form::kPacked;
  }
  bool has_few(const PassRows& rows) const { return form_for(rows.fewest) == Form::kStored; }
  bool has_many(const PassRows& rows) const { return form_for(rows.most) == Form::kPacked; }
  Tensor make(int64_t rows, int64_t cols);
  void round(const Tensor& x);
  static std::vector<Block> expert_blocks(const CpuRouting& routing, ExpertRange range);
  /// y = x W^T of each block, plus the bias.
  void multiply(const Tensor& x, int unit, std::span<const Block> blocks, Form form,
                const Tensor& y);
  void multiply_stored(const Tensor& x, int unit, std::span<const Block> blocks, const Tensor& y);
  Tensor gated(const Tensor& x, int gate, int up, std::span<const Block> blocks, Form form);
  /// Applies the gate while the two products of a block and a panel are in the cache.
  void multiply_gated(const Tensor& x, int gate, int up, std::span<const Block> blocks,
                      const Tensor& y);
  std::vector<Product> packed_products(const Tensor& x, const std::byte* narrowed, int unit,
                                       std::span<const Block> blocks, const Tensor& y) const;
  /// y = x W of each block, for the x.cols rows of W from `first_row` on, which begins a panel.
  void multiply_transposed(const Tensor& x, int unit, int64_t first_row,
                           std::span<const Block> blocks, const Tensor& y);
  /// x as bf16 where products use it, else null.
  std::shared_ptr<std::byte> narrow(const Tensor& x);
  /// @return whether the product is needed.
  bool show(const Tensor& x, int unit, std::span<const Block> blocks);
  static void clear(const Tensor& x);

  // Below this many elements, handing work to another thread costs more than doing it.
  static constexpr int64_t kLeastElements = 32768;

  /// Calls task(first, count, worker) for pieces of `rows` rows of `cols` elements.
  template <typename Task>
  void for_rows(int64_t rows, int64_t cols, const Task& task) {
    const int64_t step = std::max<int64_t>(1, kLeastElements / std::max<int64_t>(1, cols));
    threads_.run(ceil_div(rows, step), [&](int64_t i, int worker) {
      task(i * step, std::min(step, rows - i * step), worker);
    });
  }

  const Checkpoint& checkpoint_;
  const EngineOptions& options_;
  Precision precision_;
  ThreadPool& threads_;
  std::shared_ptr<BufferPool> buffers_;
  Products products_;
  RopeTables rope_;
  WeightStore weights_;
  CpuMemory memory_;
  int64_t idle_length_ = -1;  // of rows, for which the buffer pool keeps room
  const InputObserver* observe_ = nullptr;
  int64_t row_ = 0;
  std::vector<int> until_;  // units of these that were not seen yet
  bool seen_ = false;       // all that watch() waits for
  bool rows_apart_ = false;
};

}  // namespace ram
