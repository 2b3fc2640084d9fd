// The backend on the CPU: oneDNN for products, Highway for the rest, work cut by shapes alone and
// spread over a pool of threads.
#pragma once

#include <algorithm>
#include <memory>
#include <vector>

#include "ram/size.h"
#include "ram/thread.h"

#include "backend.h"
#include "cpu/buffer.h"
#include "cpu/products.h"
#include "cpu/rope.h"
#include "cpu/weights.h"

namespace ram {

/// What a backend on the CPU works with; all outlive it.
struct CpuResources {
  Precision precision = Precision::kF32;
  Products& products;
  WeightStore& weights;
  RopeTable& rope;
  ThreadPool& threads;
  std::shared_ptr<BufferPool> buffers;
};

/// The floats of a tensor of the CPU backend: [padded_rows(rows), cols].
float* cpu_data(const Tensor& tensor);

class CpuBackend : public Backend {
 public:
  explicit CpuBackend(CpuResources resources);

  /// Inputs of products are shown to `observe` as those of row `row` of the block. Once it has seen
  /// those of all units of `until`, products and attention are left out: their results are zeros.
  /// @param observe outlives the watching, which watch(nullptr, 0) ends.
  /// @pre sequences then run one after the other.
  void watch(const InputObserver* observe, int64_t row, std::vector<int> until = {});

  /// Whether products of few rows take packed weights too: then a row's results do not depend on
  /// how many rows there are. @pre weights are then at hand packed.
  void always_packed(bool on) { always_packed_ = on; }

  /// The tensor works in the matrix's memory, which outlives it.
  Tensor from_matrix(Matrix& values) override;
  Tensor zeros(int64_t rows, int64_t cols) override;
  Tensor embed(int unit, std::span<const int32_t> ids) override;
  Tensor linear(const Tensor& x, int unit) override;
  Tensor rms_norm(const Tensor& x, int unit, double epsilon) override;
  void rope(Tensor& x, int64_t heads, int64_t position, int64_t step) override;
  Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v, const AttentionSpec& spec,
                   KvCache* cache, int64_t position) override;
  Tensor attention_abreast(const Tensor& q, const Tensor& k, const Tensor& v,
                           const AttentionSpec& spec, std::span<KvCache* const> caches,
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
  void scatter_add(Tensor& sum, const Tensor& y, const Routing& routing,
                   ExpertRange range) override;

  /// linear() whose outputs stay float32 whatever the precision: logits.
  Tensor product(const Tensor& x, int unit);

  /// Rows [first, last) of a unit's only part applied to `count` rows of x: logits of a piece of
  /// the vocabulary. y [padded_rows(count), last - first].
  /// @pre the rows are at hand, first and last are multiples of a panel's rows or the end.
  void multiply_rows(const float* x, int64_t count, int unit, int64_t first, int64_t last,
                     float* y);

 private:
  /// Rows [begin, begin + count) of x times one part of a unit.
  struct Block {
    int part = 0;
    int64_t begin = 0;
    int64_t count = 0;
    const int32_t* positions = nullptr;  // as LinearInput's
  };

  /// How the weights are at hand that this many rows are multiplied with.
  Form form_for(int64_t rows) const {
    return rows <= kFewRows && !always_packed_ ? Form::kStored : Form::kPacked;
  }
  Tensor make(int64_t rows, int64_t cols);
  void round(const Tensor& x);
  static std::vector<Block> expert_blocks(const Routing& routing, ExpertRange range);
  /// y = x W^T of each block, plus the bias.
  void multiply(const Tensor& x, int unit, std::span<const Block> blocks, Form form,
                const Tensor& y);
  void multiply_stored(const Tensor& x, int unit, std::span<const Block> blocks, const Tensor& y);
  Tensor gated(const Tensor& x, int gate, int up, std::span<const Block> blocks, Form form);
  /// Gates while the two products of a block and a panel are in the cache.
  void multiply_gated(const Tensor& x, int gate, int up, std::span<const Block> blocks,
                      const Tensor& y);
  std::vector<Product> packed_products(const Tensor& x, const std::byte* narrowed, int unit,
                                       std::span<const Block> blocks, const Tensor& y) const;
  /// x as bf16 where products want it, else null.
  std::shared_ptr<std::byte> narrow(const Tensor& x);
  /// @return whether the product is wanted.
  bool show(const Tensor& x, int unit, std::span<const Block> blocks);
  static void clear(const Tensor& x);

  // Elements below which handing work to another thread costs more than doing it.
  static constexpr int64_t kLeastElements = 32768;

  /// Calls task(first, count, worker) for pieces of `rows` rows of `cols` elements.
  template <typename Task>
  void for_rows(int64_t rows, int64_t cols, const Task& task) {
    const int64_t step = std::max<int64_t>(1, kLeastElements / std::max<int64_t>(1, cols));
    use_.threads.run(ceil_div(rows, step), [&](int64_t i, int worker) {
      task(i * step, std::min(step, rows - i * step), worker);
    });
  }

  CpuResources use_;
  const InputObserver* observe_ = nullptr;
  int64_t row_ = 0;
  std::vector<int> until_;  // of these, what was not seen yet
  bool seen_ = false;       // all that watch() was to wait for
  bool always_packed_ = false;
};

}  // namespace ram
