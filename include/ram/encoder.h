// Encoders that look at what a matrix multiplies: a searched scale and bias per group, and error
// feedback with the full second moment of the inputs (GPTQ). What they write is MLX's affine
// format, codes chosen for the scale and bias as stored. Matrices only: no model, no files.
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

/// Sum of x x^T over the inputs x of a linear (its second moment, not divided by their number).
/// @source Frantar et al. 2022, arXiv 2210.17323: H = 2 X X^T, here without the 2
class SecondMoment {
 public:
  /// All zero. @param cols >= 1; takes 4 cols^2 bytes.
  explicit SecondMoment(int64_t cols);

  /// Adds x x^T of each token.
  ///
  /// Sums in float32, in blocks of tokens cut at fixed multiples from the first token of a call:
  /// the same calls give the same bits, whatever the number of threads.
  ///
  /// @param inputs [tokens, cols] row-major, finite.
  /// @cost  tokens * cols^2 flops (one triangle), by oneDNN.
  void add(const float* inputs, int64_t tokens, ThreadPool& pool);

  /// Adds another one's sums and tokens. @pre the same cols.
  void add(const SecondMoment& other);

  int64_t cols() const { return cols_; }
  int64_t tokens() const { return tokens_; }

  /// [cols, cols], symmetric.
  std::span<const float> values() const { return values_; }

  /// Sums of squares of each column: what search_encode takes as importance.
  std::vector<float> diagonal() const;

  /// Adds the mean of `layer` `tokens_worth` times: what is known about experts with few tokens is
  /// drawn towards what is known about all. tokens() stays the number of those that came. Nothing
  /// happens where `layer` has no tokens. @pre the same cols, tokens_worth >= 0.
  void shrink_towards(const SecondMoment& layer, double tokens_worth);

 private:
  int64_t cols_ = 0;
  int64_t tokens_ = 0;
  std::vector<float> values_;
};

/// How inputs have moved since the original model: sum over tokens of (x - x') x'^T, x the inputs
/// of a linear there and x' what the compressed layers before it make of them.
class Drift {
 public:
  /// All zero. @param cols >= 1; takes 4 cols^2 bytes.
  explicit Drift(int64_t cols);

  /// As SecondMoment::add; twice its cost. @param original, compressed [tokens, cols], the same
  /// tokens.
  void add(const float* original, const float* compressed, int64_t tokens, ThreadPool& pool);

  /// Adds another one's sums `share` times: SecondMoment::shrink_towards for drifts.
  /// @pre the same cols.
  void add(const Drift& other, double share);

  int64_t cols() const { return cols_; }
  std::span<const float> values() const { return values_; }  ///< [cols, cols]

 private:
  int64_t cols_ = 0;
  std::vector<float> values_;
};

/// A matrix as the affine format stores it; see affine_encode for the shapes.
struct EncodedMatrix {
  std::vector<uint32_t> codes;    ///< [rows, cols * bits / 32]
  std::vector<std::byte> scales;  ///< [rows, cols / group_size] of the dtype
  std::vector<std::byte> biases;  ///< the same
  bool operator==(const EncodedMatrix&) const = default;
};

/// The matrix to be encoded, and what it is to become.
struct EncodeRequest {
  /// [rows, cols] row-major, finite; those of a model already cast to `dtype`.
  std::span<const float> weights;
  int64_t rows = 0;
  int64_t cols = 0;  ///< a multiple of format.group_size
  AffineFormat format;
  DType dtype = DType::kBF16;  ///< of the stored scales and biases: bf16, f16 or f32
};

/// What affine_encode stores, bit for bit.
EncodedMatrix mlx_encode(const EncodeRequest& request, ThreadPool& pool);

/// Searches scale and bias of each group for the least sum of importance * (decoded - weight)^2:
/// shrunk ends, then alternating least squares; codes are the nearest for the stored scale and
/// bias.
///
/// Never worse in that sum than mlx_encode, group by group, up to the rounding of the sums; finite
/// wherever the weights are, even where mlx_encode's scale overflows.
///
/// @param importance [cols] >= 0, usually SecondMoment::diagonal(); empty: all 1. Columns of
/// (almost)
///                   no importance count a little, so that they are decoded to something sane.
/// @cost  see docs/performance.md; the same bits whatever the number of threads.
EncodedMatrix search_encode(const EncodeRequest& request, std::span<const float> importance,
                            ThreadPool& pool);

/// Where a group's scale and bias come from when error feedback reaches it.
enum class GroupGrid : uint8_t {
  kMlx,     ///< MLX's rule on the weights as they are by then: as mlx_lm's GPTQ does
  kSearch,  ///< searched, as search_encode does
};

struct FeedbackOptions {
  /// Added to every diagonal element, as a share of the mean diagonal. @source Frantar et al.: 0.01
  double damping = 0.01;
  GroupGrid grid = GroupGrid::kSearch;
  /// Scales tried on either side of the searched one, each by what its group then loses: here and
  /// in the descent.
  int tries = 6;
  /// Passes of descent afterwards: over groups, which are rounded anew with all others as they are,
  /// and over their scales, biases and codes one by one.
  int sweeps = 2;
};

/// GPTQ: columns are rounded one after the other, and what each loses is made up for by the columns
/// that are still to come. The factor is computed once and serves any number of matrices that share
/// the inputs, and formats.
/// @source Frantar et al. 2022, arXiv 2210.17323; in the equivalent form of Chee et al. 2023,
///         arXiv 2307.13304 (LDLQ), which needs one Cholesky factor and no inverse.
class FeedbackEncoder {
 public:
  /// Factors moment + damping. A moment of zero tokens (or of zeros) makes encode() a
  /// search_encode with equal importance.
  /// @param moment must outlive the encoder.
  /// @cost  cols^3 / 3 multiply-adds; 4 cols^2 bytes beside the moment's.
  FeedbackEncoder(const SecondMoment& moment, const FeedbackOptions& options, ThreadPool& pool);
  ~FeedbackEncoder();
  FeedbackEncoder(FeedbackEncoder&&) noexcept;
  FeedbackEncoder& operator=(FeedbackEncoder&&) noexcept;

  /// Never worse in trace(E H E^T), H the damped moment and E decoded - weights, than plain
  /// rounding with the same grid rule (mlx_encode or search_encode): each row takes the better of
  /// the two. The same bits whatever the number of threads.
  /// @pre request.cols is the moment's.
  EncodedMatrix encode(const EncodeRequest& request, ThreadPool& pool) const;

  /// The weights to encode instead so that outputs are those of the original though the inputs are
  /// not: W + share W drift (moment + damping)^-1; at share 1 the W* with the least |W x - W* x'|^2
  /// over the tokens plus damping |W* - W|^2.
  /// @param weights [rows, cols]. @param drift of the same tokens as the moment, which is that of
  /// x'.
  /// @param share 0 to 1: less than 1 serves better on text that was not calibrated on.
  /// @return [rows, cols]; rows that come out infinite are left as they were.
  /// @cost   2 cols multiply-adds a weight.
  /// @source the aim of Li et al. 2025, arXiv 2504.02692 (GPTAQ), in closed form
  std::vector<float> aim(std::span<const float> weights, int64_t rows, const Drift& drift,
                         double share, ThreadPool& pool) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// @return trace(E M E^T), E decoded - weights: the sum over tokens of the squared error of the
///         linear's output. The encoders' own objective without damping.
double weighted_error(const EncodeRequest& request, const EncodedMatrix& encoded,
                      const SecondMoment& moment, ThreadPool& pool);

/// @return the sum of importance * (decoded - weight)^2; an empty importance is all 1.
double squared_error(const EncodeRequest& request, const EncodedMatrix& encoded,
                     std::span<const float> importance);

}  // namespace ram
