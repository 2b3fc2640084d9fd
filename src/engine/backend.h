// What an architecture is written in: some twenty operations on arrays that only the backend looks
// into. The CPU is the backend that is always there (cpu_backend.cpp); each operation is one that
// MLX has too (quantized_matmul, gather_qmm, fast.rms_norm, fast.rope, fast.sdpa, ...).
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ram/engine.h"
#include "ram/model_config.h"

namespace ram {

/// What a backend keeps of an array.
struct Storage {
  virtual ~Storage() = default;
};

/// A [rows, cols] array of the backend's. Copies share it.
struct Tensor {
  int64_t rows = 0;
  int64_t cols = 0;
  std::shared_ptr<Storage> storage;
};

/// Which experts each token goes to, and the tokens in the order of their experts.
struct Routing {
  struct Segment {
    int64_t begin = 0;  ///< first row in gathered arrays
    int64_t count = 0;
  };
  int64_t tokens = 0;
  std::vector<Segment> segments;  ///< per expert
  int64_t gathered_rows = 0;   ///< of gathered arrays: segments may have unused rows between them
  std::vector<int32_t> token;  ///< per gathered row; -1 for an unused one
  std::vector<float> weight;   ///< per gathered row
};

struct RouteSpec {
  int64_t experts_per_token = 0;
  bool renormalise = false;  ///< the chosen probabilities are made to sum to 1
};

struct AttentionSpec {
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t head_dim = 0;
  int64_t window = 0;  ///< latest keys that a query sees, itself included; 0: all
};

/// Keys and values of one layer of one sequence, [capacity, kv_heads * head_dim] each.
struct KvCache {
  Tensor keys;
  Tensor values;
};

/// A matrix product's weights: a unit, and of a stacked unit the experts [first, last).
struct WeightSlice {
  int unit = 0;
  int first_part = 0;
  int last_part = 1;
};

/// Experts [first, last) of a layer.
struct ExpertRange {
  int first = 0;
  int last = 0;
};

/// @pre of all operations: weights named by unit are those of LanguageModel's checkpoint, and are
/// at hand (WeightStore::acquire). Results do not depend on the number of threads.
class Backend {
 public:
  virtual ~Backend() = default;

  /// A tensor that may work in the matrix's memory, which outlives it; add() reaches the matrix.
  virtual Tensor from_matrix(Matrix& values) = 0;
  virtual Tensor zeros(int64_t rows, int64_t cols) = 0;

  /// Rows `ids` of an embedding unit.
  virtual Tensor embed(int unit, std::span<const int32_t> ids) = 0;

  /// x W^T, plus the unit's own bias where it has one. x [tokens, cols of the unit].
  virtual Tensor linear(const Tensor& x, int unit) = 0;

  /// x / rms(x) * weight over each `weight.size()` consecutive elements: a whole row, or a head.
  virtual Tensor rms_norm(const Tensor& x, int unit, double epsilon) = 0;

  /// Rotates each head of each row; half-split. Row i is at `position` + i * `step`.
  virtual void rope(Tensor& x, int64_t heads, int64_t position, int64_t step) = 0;

  /// Causal attention. The first row of q, k and v stands at `position`. With a cache, k and v are
  /// put into it first and all its keys up to each query count; without, position is 0.
  virtual Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v,
                           const AttentionSpec& spec, KvCache* cache, int64_t position) = 0;

  /// Attention of rows that are the latest tokens of as many sequences, each with a cache of its
  /// own, all at `position`.
  virtual Tensor attention_abreast(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const AttentionSpec& spec, std::span<KvCache* const> caches,
                                   int64_t position) = 0;

  /// x += y.
  virtual void add(Tensor& x, const Tensor& y) = 0;

  /// silu(linear(x, gate)) * linear(x, up).
  virtual Tensor gated_linear(const Tensor& x, int gate, int up) = 0;

  /// Each row of x times sigmoid of that row's only gate value; gate [tokens, 1].
  virtual void scale_by_sigmoid(Tensor& x, const Tensor& gate) = 0;

  /// The experts of each token, of router logits [tokens, experts]: softmax, then the largest
  /// (ties: the lower expert).
  virtual Routing route(const Tensor& logits, const RouteSpec& spec) = 0;

  /// Rows of x in the order of `routing`, for the experts of the range only; others are undefined.
  virtual Tensor gather(const Tensor& x, const Routing& routing, ExpertRange range) = 0;

  /// Each expert's gathered rows times that expert's matrix of a stacked unit.
  virtual Tensor grouped_linear(const Tensor& x, int unit, const Routing& routing,
                                ExpertRange range) = 0;

  /// gated_linear() of each expert.
  virtual Tensor grouped_gated_linear(const Tensor& x, int gate, int up, const Routing& routing,
                                      ExpertRange range) = 0;

  /// sum[token] += weight * y for the gathered rows of the range, experts in increasing order.
  virtual void scatter_add(Tensor& sum, const Tensor& y, const Routing& routing,
                           ExpertRange range) = 0;
};

}  // namespace ram
