// The forward pass: token ids -> hidden states -> logits, for source folders and MLX folders alike,
// on the CPU, in memory or larger than memory.
//
// A run goes layer by layer over a block of rows (sequences of token ids), so that each weight is
// read and unpacked once for the whole block. Hides weights and their packed forms, read-ahead,
// workers, oneDNN and SIMD, and the families' architectures (src/engine/arch/). Results do not
// depend on the number of threads, on the memory, or on which rows are run together.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/random.h"

namespace ram {

enum class Precision : uint8_t {
  kF32,   ///< activations and accumulation in float32
  kBF16,  ///< activations and the matrices that they multiply are rounded to bf16 where a bf16
          ///< program would store them; products accumulate in float32; logits are float32
};

struct EngineOptions {
  Precision precision = Precision::kF32;
  int threads = 1;
  /// Working memory: cached weights, hidden states, scratch. 0: half of the machine's memory.
  int64_t memory_bytes = 0;
  /// Number of models that share the memory, at least 1: each plans with its share.
  int64_t side_by_side = 1;
  /// The backend that computes: "cpu".
  std::string backend = "cpu";
};

/// One sequence of token ids.
using TokenRow = std::vector<int32_t>;

/// A float32 matrix, row-major, 64-byte aligned.
class Matrix {
 public:
  Matrix() = default;
  Matrix(int64_t rows, int64_t cols);  ///< not initialised

  int64_t rows() const { return rows_; }
  int64_t cols() const { return cols_; }
  float* data() { return data_.get(); }
  const float* data() const { return data_.get(); }
  float* row(int64_t i) { return data_.get() + i * cols_; }
  const float* row(int64_t i) const { return data_.get() + i * cols_; }
  Matrix copy() const;

 private:
  struct Free {
    void operator()(float* data) const;
  };
  int64_t rows_ = 0;
  int64_t cols_ = 0;
  std::unique_ptr<float[], Free> data_;
};

/// Hidden states of a block of rows between two layers: one [tokens, hidden] matrix per row.
using HiddenRows = std::vector<Matrix>;

/// The inputs of one matrix product, as the weights of `unit` multiply them.
struct LinearInput {
  int unit = 0;                   ///< index into Checkpoint::units
  int part = 0;                   ///< the expert; 0 for a plain linear
  int64_t row = 0;                ///< which row of the block
  const float* inputs = nullptr;  ///< [tokens, cols]
  int64_t tokens = 0;
  int64_t cols = 0;
  /// The tokens' positions in the row, increasing; null: all of them in order.
  const int32_t* positions = nullptr;
};

/// Other values for a unit's weights: writes rows [first, first + count) of one part to `out`
/// [count, cols]. Must write the same values on every call. Called from several threads.
using UnitRows = std::function<void(int part, int64_t first, int64_t count, float* out)>;

/// Sees the inputs of matrix products while layers run. Called from one thread at a time, rows in
/// order, so that sums over them do not depend on the number of threads; it may use its own
/// workers.
using InputObserver = std::function<void(const LinearInput& input)>;

/// A matrix product's inputs X [tokens, cols] and the gradients G [tokens, rows] of its results.
/// The gradient of these rows of the part's weights is G^T X.
struct LinearGradient {
  int unit = 0;
  int part = 0;
  int64_t first_row = 0;  ///< of the part: the head comes in several pieces
  int64_t row = 0;        ///< which row of the block
  const float* inputs = nullptr;
  const float* gradients = nullptr;
  int64_t tokens = 0;
  int64_t cols = 0;
  int64_t rows = 0;
};

/// Sees the products of a backward pass, each after those that used its result. Called from several
/// threads at a time, for distinct rows; those of one row come in an order that does not depend on
/// the number of threads.
using GradientObserver = std::function<void(const LinearGradient& gradient)>;

struct LogitPiece;
struct LogitSource;

class LanguageModel {
 public:
  /// @param checkpoint a source folder, or an MLX folder opened with Quantized::kAccept.
  /// @throws Error{kUnsupported} a rope type or activation that the engine does not compute;
  ///         {kUsage} no backend has that name (lists the existing ones).
  LanguageModel(Checkpoint checkpoint, const EngineOptions& options);
  ~LanguageModel();
  LanguageModel(LanguageModel&&) noexcept;

  const Checkpoint& checkpoint() const;
  const EngineOptions& options() const;
  int layers() const;  ///< hidden states of layer L are its input; those of layers() are the last
                       ///< layer's output

  /// Whether all weights stay in memory from one pass to the next: true if they fit into half of
  /// it, until a pass has rows that are too long to fit besides them.
  bool keeps_weights() const;

  /// Number of rows of `length` tokens that fit in memory at a time, at least 1.
  /// @throws Error{kUsage} not even one fits without keeping weights (says how much one needs).
  ///         Such rows can still be run, but take more memory.
  int64_t rows_at_once(int64_t length);

  /// The most bytes that a pass over rows of `length` tokens takes, without those of the rows: the
  /// program, cached weights, scratch of every thread.
  int64_t pass_bytes(int64_t length) const;
  /// Bytes of a row of `length` tokens while layers run: its hidden state, and what is kept of it
  /// between the steps of a layer.
  int64_t row_bytes(int64_t length) const;
  /// The most bytes that a decoder of `capacity` tokens takes, including those of a step.
  int64_t decoding_bytes(int64_t capacity) const;
  /// Number of decoders of `capacity` tokens that fit in memory at a time, at least 1.
  int64_t decoders_at_once(int64_t capacity) const;
  /// The most bytes that visit_logits of `models` models takes in addition to a pass over layers:
  /// pieces of logits on every thread, and a piece of a second model's head.
  int64_t logits_bytes(int64_t models) const;
  /// Bytes of the weights of a layer's largest step, in the form in which they are multiplied.
  int64_t step_bytes() const;
  /// Bytes that a Decoder keeps per token (keys and values of all layers), and those that do not
  /// depend on the number of tokens.
  int64_t state_bytes_per_token() const;
  int64_t state_fixed_bytes() const;

  /// The embedding of each row: hidden states of layer 0.
  /// @throws Error{kCorrupt} an id outside the vocabulary (names id, position and vocabulary).
  HiddenRows embed(std::span<const TokenRow> rows);

  /// Runs hidden states of layer `first` through the layers [first, last), in place. Rows may have
  /// been saved and changed between calls.
  /// @throws Error{kCorrupt} a hidden state that is not finite (names the layer, row and token);
  ///         {kInterrupted}; and what `observe` throws. The rows are then empty.
  void run_layers(HiddenRows& rows, int first, int last, const InputObserver& observe = {});

  /// Blocks of a layer, between which the hidden state is all that there is: attention, MLP.
  int blocks(int layer) const;
  /// The block of its layer that multiplies by a unit. @pre the unit is a matrix of a layer.
  int block_of(int unit) const;

  /// Runs hidden states before a block of a layer through that block, as run_layers does.
  void run_block(HiddenRows& rows, int layer, int block, const InputObserver& observe = {});

  /// Runs hidden states before the block of some linears up to their inputs. Calls `observe` as
  /// run_layers does, for these linears and for some before them. Afterwards the rows are neither
  /// the block's input nor its output.
  /// @param units matrices of one block. @throws as run_layers, except for hidden states
  void run_to_inputs(HiddenRows& rows, std::span<const int> units, const InputObserver& observe);

  /// Takes gradients of a number back through one layer, in place: from those with respect to the
  /// layer's output to those with respect to its input. Which experts a token goes to counts as
  /// fixed.
  /// @param gradients one [tokens, hidden] matrix per row. @param inputs the rows' hidden states
  ///        before the layer; what the layer computes is computed again from them.
  /// @pre Precision::kF32.
  /// @throws Error{kCorrupt} a gradient that is not finite; {kInterrupted}; and what `observe`
  ///         throws. The gradients are then empty.
  /// @cost about two forward passes through the layer; weights are loaded twice. What the layer
  ///       computes of every row is in memory until the end.
  void run_back(HiddenRows& gradients, const HiddenRows& inputs, int layer,
                const GradientObserver& observe = {});

  /// The gradient of each row's log-likelihood of its labels, the sum over tokens of log p(label),
  /// with respect to its hidden states of layer layers().
  /// @param labels an id per token of each row; -1: the token has none.
  /// @param observe sees the head in pieces of its rows, as run_back does.
  /// @pre Precision::kF32. @throws as visit_logits and run_back.
  /// @cost that of the logits and of a product as large; the logits of some rows at a time are
  ///       kept, or computed twice where memory does not hold them.
  HiddenRows likelihood_gradients(const HiddenRows& hidden, std::span<const TokenRow> labels,
                                  const GradientObserver& observe = {});

  /// How many rows of `length` tokens likelihood_gradients keeps the logits of at a time, and the
  /// bytes of a row's. 0 rows: it computes them twice.
  int64_t kept_logit_rows(int64_t length) const;
  int64_t kept_logit_bytes(int64_t length) const;

  /// The squared Frobenius norm of a gradient of weights, ||G^T X||^2, in double sums.
  /// @cost a product of the inputs with themselves and one of the gradients with themselves:
  ///       tokens^2 (rows + cols) / 2 multiplications.
  double gradient_square(const LinearGradient& gradient);

  /// Logits [tokens, vocabulary] of one row, from its hidden states of layer layers().
  Matrix logits(const Matrix& hidden);

  /// @return an id drawn from the softmax of a token's logits over the temperature, with one draw
  ///         of `random`. At 0 it is the likeliest id, ties the lower one.
  /// @pre temperature >= 0. Called from any thread. Sums are in float32: their last bits depend on
  ///      the processor.
  int32_t draw_token(std::span<const float> logits, double temperature, SplitMix64& random);

  /// Uses other values for one unit's weights until restore_unit. `values` is called whenever they
  /// are multiplied; they are not kept in memory. Cached weights of the unit stay in memory.
  /// @pre the unit is a matrix.
  void set_unit(int unit, UnitRows values);
  void restore_unit(int unit);

  struct State;  ///< private to src/engine/model/

 private:
  friend class Decoder;
  friend void visit_logits(std::span<const LogitSource> sources,
                           const std::function<void(const LogitPiece& piece, int worker)>& visit);
  std::unique_ptr<State> state_;
};

/// A piece of the logits of one or several models, for the same tokens and ids.
struct LogitPiece {
  int64_t row = 0;          ///< which row of the block
  int64_t first_token = 0;  ///< position in the row
  int64_t tokens = 0;
  int64_t first_id = 0;
  int64_t ids = 0;
  /// Per model: [tokens, ids] float32, valid during the call.
  std::span<const float* const> logits;
};

/// One model and the hidden states (of layer layers()) whose logits are requested.
struct LogitSource {
  LanguageModel* model = nullptr;
  const HiddenRows* hidden = nullptr;
};

/// Visits the logits of all tokens of a block in pieces of the vocabulary, of which only a few are
/// in memory at a time. Each call gets the same tokens of all models. Calls come from several
/// workers at a time, for distinct tokens; for one token the pieces come in the order of first_id.
///
/// @pre all models have the same vocabulary size, all blocks rows of the same lengths.
/// @throws Error{kCorrupt} a logit that is not finite (names model, row, token);
///         {kInterrupted}; and what `visit` throws.
void visit_logits(std::span<const LogitSource> sources,
                  const std::function<void(const LogitPiece& piece, int worker)>& visit);

/// Ids that may follow a Decoder's tokens; those from `first_scored` on count.
struct Continuation {
  std::span<const int32_t> ids;
  int64_t first_scored = 0;  ///< in [0, ids.size())
};

struct ContinuationScore {
  double log_likelihood = 0;  ///< sum over the ids that count, nats
  bool likeliest = true;  ///< each of them was the likeliest at its position (ties: the lower id)
};

/// One sequence with cached keys and values, token by token.
class Decoder {
 public:
  /// The most tokens that go through the layers at a time.
  static constexpr int64_t kBlock = 2048;

  /// @param capacity the most tokens that it will hold; memory is allocated as tokens are fed.
  Decoder(LanguageModel& model, int64_t capacity);
  ~Decoder();
  Decoder(Decoder&&) noexcept;

  /// Feeds ids after those that it already holds.
  /// @return the logits [vocabulary] after the last of them.
  /// @throws as embed and run_layers; Error{kUsage} above the capacity. The decoder then holds the
  ///         same tokens as before, and its logits are undefined.
  std::span<const float> feed(std::span<const int32_t> ids);

  /// Feeds one id to each of several decoders of equal length. Their rows are multiplied together,
  /// so that every weight is loaded once for all of them. A decoder's result is the same bits
  /// whichever others are fed with it; `feed` gives the same result except for rounding.
  /// @param decoders distinct, of one model and one length. @param ids one for each.
  /// @throws as feed.
  /// @cost several times less than feeding one after the other; the logits of all are held.
  static void feed_each(std::span<Decoder> decoders, std::span<const int32_t> ids);
  /// @return the logits [vocabulary] after the last id fed. @pre an id was fed.
  std::span<const float> logits() const;

  /// Feeds `ids`, which the decoder keeps, and scores continuations of the whole sequence, which it
  /// does not keep: each continues the same tokens, independently of the others. Each weight is
  /// loaded once for all continuations.
  /// @return one score per continuation; softmax in double over float32 logits.
  /// @pre neither `ids` nor a continuation is empty.
  /// @throws as feed. @cost that of feeding `ids` and all but the last id of each continuation.
  std::vector<ContinuationScore> score(std::span<const int32_t> ids,
                                       std::span<const Continuation> continuations);

  LanguageModel& model() const;
  int64_t length() const;
  /// Forgets all but the first `length` tokens. @pre length <= length().
  void truncate(int64_t length);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct SampleOptions {
  int64_t max_tokens = 256;
  double temperature = 1;  ///< >= 0; 0 takes the likeliest token, ties the lower id
  uint64_t seed = 42;
  std::vector<int32_t> stop_ids = {};  ///< these end a text and are not part of it
};

/// Continues `prompt` after what the decoder holds, drawing each token from the softmax of its
/// logits over the temperature. The draws depend on seed, logits and processor alone.
///
/// @param on_token called for each token as it is drawn; may be empty.
/// @return the tokens drawn, without the one that ended the text.
/// @throws as Decoder::feed; Error{kUsage} a temperature that is negative or NaN.
std::vector<int32_t> sample_tokens(Decoder& decoder, std::span<const int32_t> prompt,
                                   const SampleOptions& options,
                                   const std::function<void(int32_t id)>& on_token = {});

}  // namespace ram
