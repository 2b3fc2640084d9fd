// Encoders that take a matrix's inputs into account: a search for scale and bias per group, and
// error feedback with the full second moment of the inputs (GPTQ). They write MLX's affine format;
// codes are chosen for the scale and bias as stored. Matrices only: no model, no files.
//
// See docs/encoders.md for the algorithms and their sources.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "ram/dtype.h"
#include "ram/quant.h"
#include "ram/thread.h"

namespace ram {

/// Sum of x x^T over the inputs x of a linear (the second moment, not divided by the number of
/// inputs).
/// @source Frantar et al. 2022, arXiv 2210.17323: H = 2 X X^T, here without the 2
class SecondMoment {
 public:
  /// All zero. @param cols >= 1; takes 4 cols^2 bytes.
  explicit SecondMoment(int64_t cols);

  /// Adds x x^T of each token.
  ///
  /// Sums in float32, in blocks of tokens that begin at fixed multiples from the first token of a
  /// call: the same calls give the same bits for any number of threads.
  ///
  /// @param inputs [tokens, cols] row-major, finite.
  /// @cost  tokens * cols^2 flops (one triangle), by oneDNN.
  void add(const float* inputs, int64_t tokens, ThreadPool& pool);

  /// Adds another moment's sums and tokens. @pre the same cols.
  void add(const SecondMoment& other);
  /// Takes away what was added. @pre the same cols.
  void remove(const SecondMoment& other);

  int64_t cols() const { return cols_; }
  int64_t tokens() const { return tokens_; }

  /// [cols, cols], symmetric.
  std::span<const float> values() const { return values_; }

  /// Sum of squares of each column: the importance for search_encode.
  std::vector<float> diagonal() const;

  /// Adds the mean of `layer` `tokens_worth` times: shrinks the moments of experts with few tokens
  /// towards those of all experts. tokens() remains the number of tokens added. Does nothing if
  /// `layer` has no tokens. @pre the same cols, tokens_worth >= 0.
  void shrink_towards(const SecondMoment& layer, double tokens_worth);

 private:
  int64_t cols_ = 0;
  int64_t tokens_ = 0;
  std::vector<float> values_;
};

/// How inputs differ from those of the original model: sum over tokens of (x - x') x'^T, where x
/// are a linear's inputs in the original and x' its inputs behind compressed layers.
class Drift {
 public:
  /// All zero. @param cols >= 1; takes 4 cols^2 bytes.
  explicit Drift(int64_t cols);

  /// As SecondMoment::add; twice its cost. @param original, compressed [tokens, cols], the same
  /// tokens.
  void add(const float* original, const float* compressed, int64_t tokens, ThreadPool& pool);

  /// Adds another drift's sums `share` times: SecondMoment::shrink_towards for drifts.
  /// @pre the same cols.
  void add(const Drift& other, double share);

  int64_t cols() const { return cols_; }
  std::span<const float> values() const { return values_; }  ///< [cols, cols]

 private:
  int64_t cols_ = 0;
  std::vector<float> values_;
};

/// Inputs in two parts: one to encode for, and one to judge by.
struct HeldOut {
  const SecondMoment* rest = nullptr;
  const SecondMoment* held = nullptr;
};

/// The damping (FeedbackOptions) with which error feedback for `rest` loses least on `held`: the
/// first minimum of 0.003, 0.01, 0.03, 0.1, 0.3 and 1. A moment of few tokens shows directions
/// without inputs where new text has some; damping keeps errors out of them.
///
/// The loss is tr(U^-1 H V^-1), with H the held moment, U the factor of the damped rest and V its
/// transpose: what independent rounding errors of one size cost, estimated with 128 rows of random
/// signs; each of `inputs` counts relative to its tr(H).
///
/// @param inputs all with at least one token in both parts and of the same cols; at least one.
/// @cost  per candidate and input cols^3 / 3 + 300 cols^2 multiply-adds; usually 3 to 5 candidates.
double choose_damping(std::span<const HeldOut> inputs, ThreadPool& pool);

/// A matrix in the affine format; see affine_encode for the shapes.
struct EncodedMatrix {
  std::vector<uint32_t> codes;    ///< [rows, cols * bits / 32]
  std::vector<std::byte> scales;  ///< [rows, cols / group_size] of the dtype
  std::vector<std::byte> biases;  ///< the same
  bool operator==(const EncodedMatrix&) const = default;
};

/// The matrix to be encoded, and the format to encode it in.
struct EncodeRequest {
  /// [rows, cols] row-major, finite; a model's weights already cast to `dtype`.
  std::span<const float> weights;
  int64_t rows = 0;
  int64_t cols = 0;  ///< a multiple of format.group_size
  AffineFormat format;
  DType dtype = DType::kBF16;  ///< of the stored scales and biases: bf16, f16 or f32
};

/// What affine_encode stores, bit for bit.
EncodedMatrix mlx_encode(const EncodeRequest& request, ThreadPool& pool);

/// Searches scale and bias of each group for the least sum of importance * (decoded - weight)^2:
/// first shrunk ranges, then alternating least squares. Codes are the nearest for the stored scale
/// and bias.
///
/// Never worse in that sum than mlx_encode, group by group, up to the rounding of the sums; finite
/// for all finite weights, even if mlx_encode's scale overflows.
///
/// @param importance [cols] >= 0, usually SecondMoment::diagonal(); empty: all 1. Columns of
///         (almost) no importance get a small one, so that their decoded values stay reasonable.
/// @cost see docs/performance.md; the same bits for any number of threads.
EncodedMatrix search_encode(const EncodeRequest& request, std::span<const float> importance,
                            ThreadPool& pool);

/// How a group's scale and bias are chosen when error feedback reaches it.
enum class GroupGrid : uint8_t {
  kMlx,     ///< MLX's rule on the weights as updated by then: as mlx_lm's GPTQ does
  kSearch,  ///< searched, as search_encode does
};

struct FeedbackOptions {
  /// Added to every diagonal element, as a share of the mean diagonal. @source Frantar et al.: 0.01
  double damping = 0.01;
  GroupGrid grid = GroupGrid::kSearch;
  /// Scales tried on either side of the searched one, judged by the loss of the group: in feedback
  /// and in the descent.
  int tries = 6;
  /// Passes of coordinate descent afterwards: over groups, which are rounded anew with all others
  /// fixed, and over their scales, biases and codes one by one.
  int sweeps = 2;
};

/// GPTQ: columns are rounded one after the other, and each column's error is propagated to the
/// columns not yet rounded. The factor is computed once for all matrices with the same inputs, and
/// for all formats.
/// @source Frantar et al. 2022, arXiv 2210.17323; in the equivalent form of Chee et al. 2023,
///         arXiv 2307.13304 (LDLQ), which needs one Cholesky factor and no inverse.
class FeedbackEncoder {
 public:
  /// Factors moment + damping. With a moment of zero tokens (or of zeros), encode() is
  /// search_encode with equal importance, or mlx_encode for GroupGrid::kMlx.
  /// @param moment must outlive the encoder.
  /// @cost cols^3 / 3 multiply-adds; 4 cols^2 bytes besides the moment's.
  FeedbackEncoder(const SecondMoment& moment, const FeedbackOptions& options, ThreadPool& pool);
  ~FeedbackEncoder();
  FeedbackEncoder(FeedbackEncoder&&) noexcept;
  FeedbackEncoder& operator=(FeedbackEncoder&&) noexcept;

  /// Never worse in trace(E H E^T), H the damped moment and E decoded - weights, than plain
  /// rounding with the same grid rule (mlx_encode or search_encode): each row takes the better of
  /// the two. The same bits for any number of threads.
  /// @pre request.cols is the moment's.
  EncodedMatrix encode(const EncodeRequest& request, ThreadPool& pool) const;

  /// The weights to encode instead, so that outputs approach the original's although the inputs
  /// differ: W + share W drift (moment + damping)^-1; at share 1 the W* that minimizes |W x - W*
  /// x'|^2 over the tokens plus damping |W* - W|^2.
  /// @param weights [rows, cols]. @param drift of the same tokens as the moment, which must be that
  ///         of x'.
  /// @param share 0 to 1: less than 1 generalizes better to text outside the calibration text.
  /// @return [rows, cols]; rows that would become infinite are left unchanged.
  /// @cost   2 cols multiply-adds a weight.
  /// @source the objective of Li et al. 2025, arXiv 2504.02692 (GPTAQ), in closed form
  std::vector<float> aim(std::span<const float> weights, int64_t rows, const Drift& drift,
                         double share, ThreadPool& pool) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// @return trace(E M E^T), E decoded - weights: the sum over tokens of the squared error of the
///         linear's output. The encoders' objective without damping.
double weighted_error(const EncodeRequest& request, const EncodedMatrix& encoded,
                      const SecondMoment& moment, ThreadPool& pool);

/// @return the sum of importance * (decoded - weight)^2; an empty importance is all 1.
double squared_error(const EncodeRequest& request, const EncodedMatrix& encoded,
                     std::span<const float> importance);

}  // namespace ram
