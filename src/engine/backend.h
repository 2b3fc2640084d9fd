// The interface that the model and the architectures are written against: weights that are loaded
// on demand, operations on arrays, and the state kept per sequence. Their contents are private to
// the backend. The CPU backend is always available (cpu/); each operation also exists in MLX
// (quantized_matmul, gather_qmm, fast.rms_norm, fast.rope, fast.sdpa, ...).
//
// Each operation has its derivative (Backend, "Derivatives"). Stages say nothing of it: a Tape
// (model/tape.h) records what they do to a sequence, then takes the derivatives in reverse order.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "ram/engine.h"
#include "ram/model_config.h"
#include "ram/thread.h"

namespace ram {

/// A backend's data of an array.
struct Storage {
  virtual ~Storage() = default;
};

/// A [rows, cols] array owned by the backend. Copies share it.
struct Tensor {
  int64_t rows = 0;
  int64_t cols = 0;
  std::shared_ptr<Storage> storage;
};

/// Which experts each token goes to, in the backend's own form. Copies share it.
struct Routing {
  int64_t tokens = 0;
  std::shared_ptr<Storage> storage;
};

/// What a backend keeps of one sequence from one pass to the next: keys and values of all layers. A
/// pass at a position overwrites what was kept of that token and of all later ones.
class SequenceState {
 public:
  virtual ~SequenceState() = default;
  /// Bytes that each token takes, and those of a sequence of any length. Also of an empty state.
  virtual int64_t bytes_per_token() const = 0;
  virtual int64_t fixed_bytes() const = 0;
};

struct RouteSpec {
  int64_t experts_per_token = 0;
  bool renormalise = false;  ///< the chosen probabilities are rescaled to sum to 1
};

struct AttentionSpec {
  int layer = 0;  ///< of the model: where a state keeps its keys and values
  int64_t heads = 0;
  int64_t kv_heads = 0;
  int64_t key_dim = 0;    ///< of a head of queries and keys
  int64_t value_dim = 0;  ///< of a head of values, and of the result
  int64_t window = 0;     ///< latest keys that a query sees, itself included; 0: all
};

/// A matrix product's weights: a unit, and of a stacked unit the experts [first, last).
struct WeightSlice {
  int unit = 0;
  int first_part = 0;
  int last_part = 1;
};

/// The weights of each step of a pass: loaded together, one step at a time.
using StepWeights = std::vector<std::vector<WeightSlice>>;

/// Experts [first, last) of a layer.
struct ExpertRange {
  int first = 0;
  int last = 0;
};

/// Rows of the sequences that a pass takes through the layers. Products of few rows may need their
/// weights in a different form from products of many.
struct PassRows {
  int64_t fewest = std::numeric_limits<int64_t>::max();
  int64_t most = 0;
};

/// Logits are computed in pieces of at most this many tokens and vocabulary ids.
inline constexpr int64_t kLogitTokens = 256;
inline constexpr int64_t kLogitIds = 4096;

/// What the stages of a layer are written with. A backend computes these; a Tape records them too.
/// Sequences may run concurrently, each on one thread, as tasks of the backend's thread pool.
/// @pre the weights of each `unit` are loaded.
class Operations {
 public:
  virtual ~Operations() = default;

  virtual Tensor zeros(int64_t rows, int64_t cols) = 0;

  /// x W^T, plus the unit's own bias where it has one. x [tokens, cols of the unit].
  virtual Tensor linear(const Tensor& x, int unit) = 0;

  /// x / rms(x) * weight over each run of `weight.size()` consecutive elements: a whole row, or a
  /// head.
  virtual Tensor rms_norm(const Tensor& x, int unit, double epsilon) = 0;

  /// Rotates each of `heads` heads of each row by the layer's config; half-split. Row i is at
  /// `position` + i * `step`.
  virtual void rope(Tensor& x, int layer, int64_t heads, int64_t position, int64_t step) = 0;

  /// Causal attention. The first row of q, k and v is at `position`. With a state, k and v are
  /// first stored in it, and all its keys up to each query are attended; without one, position is
  /// 0.
  virtual Tensor attention(const Tensor& q, const Tensor& k, const Tensor& v,
                           const AttentionSpec& spec, SequenceState* state, int64_t position) = 0;

  /// Attention of rows that are the latest tokens of different sequences, each with its own state,
  /// all at `position`.
  virtual Tensor attention_abreast(const Tensor& q, const Tensor& k, const Tensor& v,
                                   const AttentionSpec& spec,
                                   std::span<SequenceState* const> states, int64_t position) = 0;

  /// x += y.
  virtual void add(Tensor& x, const Tensor& y) = 0;

  /// silu(linear(x, gate)) * linear(x, up).
  virtual Tensor gated_linear(const Tensor& x, int gate, int up) = 0;

  /// Each row of x times sigmoid of that row's single gate value; gate [tokens, 1].
  virtual void scale_by_sigmoid(Tensor& x, const Tensor& gate) = 0;

  /// The experts of each token, of router logits [tokens, experts]: softmax, then the largest
  /// (ties: the lower expert).
  virtual Routing route(const Tensor& logits, const RouteSpec& spec) = 0;

  /// Rows of x in the order of their experts, for the experts of the range only. The exact order
  /// and any padding are up to the backend; the operations below take them in this form.
  virtual Tensor gather(const Tensor& x, const Routing& routing, ExpertRange range) = 0;

  /// Each expert's gathered rows times that expert's matrix of a stacked unit.
  virtual Tensor grouped_linear(const Tensor& x, int unit, const Routing& routing,
                                ExpertRange range) = 0;

  /// gated_linear() of each expert.
  virtual Tensor grouped_gated_linear(const Tensor& x, int gate, int up, const Routing& routing,
                                      ExpertRange range) = 0;

  /// sum[token] += weight * y over the token's experts of the range, in increasing order: gathered
  /// rows return to their tokens, and each token adds its own. Nothing is rounded.
  virtual void combine(Tensor& sum, const Tensor& y, const Routing& routing, ExpertRange range) = 0;
};

/// Gradients with respect to the inputs of an operation that has several.
struct AttentionGradients {
  Tensor q, k, v;
};
struct GateGradients {
  Tensor gate, up;
};

/// Of numbers x: the largest, and the sum of exp(x - largest).
struct ExpSum {
  double largest = -std::numeric_limits<double>::infinity();
  double sum = 0;

  /// Adds those of further numbers.
  void add(const ExpSum& more) {
    const double top = std::max(largest, more.largest);
    sum = sum * std::exp(largest - top) + more.sum * std::exp(more.largest - top);
    largest = top;
  }
  double log() const { return largest + std::log(sum); }  ///< of the sum of exp(x)
};

/// Rows [begin, begin + count) of a gathered array belong to one expert.
struct ExpertRows {
  int expert = 0;
  int64_t begin = 0;
  int64_t count = 0;
  std::span<const int32_t> positions;  ///< the tokens' positions in the sequence, increasing
};

/// Units are indices into Checkpoint::units. Results do not depend on the number of threads.
class Backend : public Operations {
 public:
  // Arrays. Each of these works on the calling thread, whichever that is.

  /// A tensor with the matrix's values; the CPU takes its memory.
  virtual Tensor upload(Matrix values) = 0;
  /// The tensor's values; the CPU returns the memory that upload took, unless it is shared.
  virtual Matrix to_matrix(Tensor x) = 0;
  /// The values in host memory, [rows, cols], valid as long as the tensor exists.
  virtual std::span<const float> host(const Tensor& x) = 0;
  /// A copy of rows [first, first + count).
  virtual Tensor copy_rows(const Tensor& x, int64_t first, int64_t count) = 0;
  /// The index of the first element that is NaN or infinite, or -1.
  virtual int64_t find_non_finite(const Tensor& x) = 0;

  /// Rows `ids` of an embedding unit, which need not be loaded.
  virtual Tensor embed(int unit, std::span<const int32_t> ids) = 0;

  // Derivatives, of Precision::kF32. Every operation above has one, those in which a gradient
  // only passes through excepted (add: to both). `dy` is the gradient of a number with respect to
  // the operation's result, and has the result's shape. @pre acquire_back loaded `unit`.

  /// Of linear: dy W, without the bias. [tokens, cols of the unit]
  virtual Tensor linear_back(const Tensor& dy, int unit) = 0;
  /// Of logits_of for the ids from `first_id` on, which acquire_rows_back loaded.
  virtual Tensor logits_back(const Tensor& dy, int unit, int64_t first_id) = 0;
  /// Of rms_norm at its input x.
  virtual Tensor rms_norm_back(const Tensor& x, const Tensor& dy, int unit, double epsilon) = 0;
  /// Of rope with step 1: dy becomes the gradient of its input.
  virtual void rope_back(Tensor& dy, int layer, int64_t heads, int64_t position) = 0;
  /// Of attention at position 0 without a state.
  virtual AttentionGradients attention_back(const Tensor& q, const Tensor& k, const Tensor& v,
                                            const Tensor& dy, const AttentionSpec& spec) = 0;
  /// silu(gate) * up: gated_linear is this of two linears.
  virtual Tensor gate(const Tensor& gate, const Tensor& up) = 0;
  virtual GateGradients gate_back(const Tensor& gate, const Tensor& up, const Tensor& dy) = 0;
  /// Of scale_by_sigmoid at its input x: dy becomes the gradient of x. @return that of the gate.
  virtual Tensor scale_by_sigmoid_back(const Tensor& x, const Tensor& gate, Tensor& dy) = 0;
  /// Of route: which experts were chosen does not change. @param dweights [tokens, experts], of the
  /// weights that combine uses; others are ignored.
  virtual Tensor route_back(const Tensor& dweights, const Routing& routing, const Tensor& logits,
                            const RouteSpec& spec) = 0;
  /// Of gather: adds to the gradient of its input.
  virtual void gather_back(Tensor& dx, const Tensor& dy, const Routing& routing,
                           ExpertRange range) = 0;
  virtual Tensor grouped_linear_back(const Tensor& dy, int unit, const Routing& routing,
                                     ExpertRange range) = 0;
  /// Of combine: the gradient of y, from that of the sum, which passes on unchanged. Adds those of
  /// the weights to `dweights` [tokens, experts].
  virtual Tensor combine_back(const Tensor& dsum, const Tensor& y, const Routing& routing,
                              ExpertRange range, Tensor& dweights) = 0;
  /// Of each token's log p(label) at its logits [tokens, ids from first_id on]: 1 for the label,
  /// less the probabilities. Zeros for tokens whose label is -1.
  /// @param log_sums log(sum of exp) of each token's logits, of the whole vocabulary
  virtual void likelihood_back(Tensor& logits, std::span<const int32_t> labels,
                               std::span<const double> log_sums, int64_t first_id) = 0;
  /// As LanguageModel::gradient_square.
  virtual double gradient_square(const LinearGradient& gradient) = 0;
  /// The rows that gather made for each expert of the range that has any.
  virtual std::vector<ExpertRows> expert_rows(const Routing& routing, ExpertRange range) = 0;

  // The head: its products stay float32 at any precision.

  /// x W^T. x [tokens, cols of the unit].
  virtual Tensor logits(const Tensor& x, int unit) = 0;
  /// rms_norm() of rows [first, first + count) of a matrix, and rows [first_id, last_id) of the
  /// unit times x; a row's bits do not depend on the other rows. Both run on the calling thread,
  /// whichever that is. @pre acquire_rows loaded these rows; first_id is a multiple of
  /// ids_at_once(unit).
  virtual Tensor norm_rows(const Matrix& hidden, int64_t first, int64_t count, int unit,
                           double epsilon) = 0;
  virtual Tensor logits_of(const Tensor& x, int unit, int64_t first_id, int64_t last_id) = 0;
  /// Of some of one token's logits, as host() gives them. On the calling thread.
  virtual ExpSum exp_sum(std::span<const float> logits) = 0;
  /// How many ids' logits one thread should compute at a time; divides kLogitIds.
  virtual int64_t ids_at_once(int unit) const = 0;

  // State of a sequence.

  virtual std::unique_ptr<SequenceState> make_state() = 0;
  /// Makes room for `tokens` tokens in a state and keeps what it holds of the first `held`. If it
  /// throws, the state is usable as before and can be grown again.
  virtual void grow(SequenceState& state, int64_t tokens, int64_t held) = 0;

  // Control of a pass. Called between operations, from one thread.

  /// The steps of a pass, from which its memory is planned.
  virtual void set_steps(StepWeights steps) = 0;
  /// Upper bound on the number of experts loaded at a time; steps are split by it.
  virtual int experts_at_once() const = 0;
  /// Stops keeping weights that leave no room for a pass over these rows.
  /// @return whether experts_at_once() changed: steps must be split again, and room must be made
  /// again.
  virtual bool make_room(const PassRows& rows) = 0;
  /// Must be called before a pass whose tokens are at positions below `positions`.
  /// @throws Error{kUnsupported} a rotary embedding that cannot be computed up to there.
  virtual void begin_pass(const PassRows& rows, int64_t positions) = 0;
  /// Shows inputs of products to `observe` as those of row `row` of the block. Once it has seen
  /// those of all units of `until`, products and attention are skipped: their results are zeros.
  /// @param observe must stay valid until watch(nullptr, 0, {}).
  /// @pre sequences then run one after another.
  virtual void watch(const InputObserver* observe, int64_t row, std::vector<int> until) = 0;
  /// While on, a row's results do not depend on the number of rows.
  virtual void keep_rows_apart(bool on) = 0;

  // Loaded weights.

  /// Loads what is not in memory yet, in the form that products of these rows need.
  /// @throws Error{kCorrupt} the file ends early, or a weight is not finite; {kInterrupted}.
  virtual void acquire(std::span<const WeightSlice> slices, const PassRows& rows) = 0;
  /// The same for rows [first, last) of a head, multiples of kLogitIds or the end.
  virtual void acquire_rows(int unit, int64_t first, int64_t last) = 0;
  /// Loads what the derivatives of products with these need. Never kept.
  virtual void acquire_back(std::span<const WeightSlice> slices) = 0;
  /// The same for rows [first, last) of a head, multiples of kLogitIds or the end.
  virtual void acquire_rows_back(int unit, int64_t first, int64_t last) = 0;
  /// Frees everything that is not kept.
  virtual void release() = 0;
  /// Hints to the system that these will be read soon, unless they are kept.
  virtual void prefetch(std::span<const WeightSlice> slices, const PassRows& rows) const = 0;
  /// Whether all weights for products of many rows stay loaded from one pass to the next.
  virtual bool keeps_weights() const = 0;
  /// As in LanguageModel.
  virtual void set_unit(int unit, UnitRows values) = 0;
  virtual void restore_unit(int unit) = 0;

  // Memory, in bytes, as defined by LanguageModel's functions of these names.

  virtual int64_t pass_bytes(int64_t length) const = 0;
  virtual int64_t row_bytes(int64_t length) const = 0;
  virtual int64_t logits_bytes(int64_t models) const = 0;
  virtual int64_t step_bytes() const = 0;
  virtual int64_t rows_at_once(int64_t length) const = 0;
  /// What the model may use, less what allocators round up.
  virtual int64_t usable_bytes() const = 0;
};

/// What a backend is constructed from; all must outlive it.
struct BackendResources {
  const Checkpoint& checkpoint;
  const EngineOptions& options;
  ThreadPool& threads;
};

/// The table of backends is in backend.cpp.
/// @throws Error{kUsage} no backend has this name (lists the available ones); {kUnsupported} a rope
/// type that it does not compute.
std::unique_ptr<Backend> make_backend(std::string_view name, const BackendResources& resources);

}  // namespace ram
