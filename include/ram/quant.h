// Number formats: encode, decode, size and distortion of MLX's affine format and of the published
// simulated quantizer. A scalar reference defines the rule; the Highway version agrees with it
// exactly.
//
// See docs/formats/affine.md for the rule, its ties and its rounding.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/dtype.h"

namespace ram {

/// bits in {2,3,4,5,6,8}; group_size in {32,64,128} consecutive elements of a row.
struct AffineFormat {
  int bits = 0;
  int group_size = 0;
  bool operator==(const AffineFormat&) const = default;
};

/// All 18 formats, by bits, then by group size: {2,32}, {2,64}, {2,128}, {3,32}, ... {8,128}.
inline constexpr int kFormatCount = 18;
extern const std::array<AffineFormat, kFormatCount> kAffineFormats;

/// @return the position in kAffineFormats, or -1.
int format_index(AffineFormat format);

/// @return "4:64".
std::string format_name(AffineFormat format);

std::vector<std::string> format_names();  ///< of all formats, in their order

/// Parses "4:64". @return nothing if it is not one of the 18.
std::optional<AffineFormat> parse_format(std::string_view text);

/// @return number of uint32 words for that many codes. @pre elements % 32 == 0.
constexpr int64_t code_words(int64_t elements, AffineFormat format) {
  return elements * format.bits / 32;
}

/// @return bytes of the scales of that many elements; their biases take the same.
/// @pre elements % group_size == 0.
inline int64_t scale_bytes(int64_t elements, AffineFormat format, DType dtype) {
  return elements / format.group_size * dtype_bytes(dtype);
}

/// @return bytes of codes, scales and biases of a [rows, cols] matrix.
/// @pre cols % group_size == 0.
/// @throws Error{kCorrupt} more than int64_t can represent.
int64_t encoded_bytes(int64_t rows, int64_t cols, AffineFormat format, DType scale_dtype);

/// Encodes rows as `mx.quantize(w, group_size, bits)` does on CPU, bit for bit.
///
/// Weights are first cast to `dtype` (as mlx_lm.convert does), then encoded; scales and biases are
/// stored in `dtype`; codes are chosen with the unrounded float32 scale.
///
/// @param weights  [rows, cols] row-major, of weight dtype `source`, of any alignment;
///                 cols % group_size == 0.
/// @param codes [rows, cols * bits / 32] uint32, element i of a row in bits [i*bits, (i+1)*bits).
/// @param scales, biases  [rows, cols / group_size] of `dtype`.
/// @pre   every weight is finite after the cast (see find_non_finite).
/// @cost  O(rows * cols), one thread.
/// @source MLX, mlx/backend/cpu/quantized.cpp, `quantize`
void affine_encode(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                   AffineFormat format, DType dtype, uint32_t* codes, std::byte* scales,
                   std::byte* biases);

/// Packs codes as affine_encode stores them. @param codes [count], one per byte, each below 2^bits.
/// @param packed [count * bits / 32]. @pre count % 32 == 0.
void affine_pack(const uint8_t* codes, int64_t count, int bits, uint32_t* packed);

/// Decodes rows: scale * code + bias in float32 (multiplied, then added: two roundings, like
/// mx.dequantize), from stored scales and biases.
/// @param out [rows, cols] float32.
void affine_decode(const uint32_t* codes, const std::byte* scales, const std::byte* biases,
                   DType dtype, int64_t rows, int64_t cols, AffineFormat format, float* out);

enum class Encoder : uint8_t {
  kMlx,        ///< what affine_encode stores
  kSimulated,  ///< the published simulated quantizer; for analysis only, never stored
  kSearch,     ///< scales searched with the inputs as weights (encoder.h); stored, not analyzed
  kFeedback,   ///< error feedback with the inputs' second moment (encoder.h); the same
};

/// Sums over a block of weights; add blocks in a fixed order to get reproducible bits.
struct Distortion {
  double sum_squares = 0;                               ///< of the weights, after the cast
  std::array<double, kFormatCount> squared_error = {};  ///< of the decoded weights, per format

  Distortion& operator+=(const Distortion& other);
};

/// @return a bit set over kAffineFormats: the formats whose group size divides `cols`.
uint32_t formats_for_cols(int64_t cols);

/// Distortion of all formats in `formats`, in one pass over the weights.
///
/// For kMlx: of what would be stored (scale and bias rounded to `dtype`), within 1e-6 relative of
/// that of the actual codes for matrices the size of a unit (a reciprocal in two floats replaces
/// the division). For kSimulated: scale and bias unrounded, s = max((hi - lo)/L, 1e-12), ties to
/// even, as published.
///
/// @param weights [rows, cols] row-major, of weight dtype `source` and any alignment, cast to
///         `dtype` first.
/// @param formats bit i for kAffineFormats[i]; a subset of formats_for_cols(cols).
/// @return sums in a fixed order: the same bits for the same arguments, on every run and every
///         machine. squared_error is infinite if a group's stored scale is (weights of both signs
///         beyond 1.7e38), and 0 for formats that are not in `formats`.
/// @pre   every weight is finite after the cast; encoder is kMlx or kSimulated.
/// @cost  O(rows * cols * formats), one thread, no allocation that grows with rows.
Distortion measure_distortion(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                              uint32_t formats, DType dtype, Encoder encoder);

/// @return the index of the first element that is NaN or infinite, or becomes so when cast to
/// `dtype`; -1 if there is none.
int64_t find_non_finite(const std::byte* weights, DType source, int64_t count, DType dtype);

/// Root of squared error over sum of squares; 0 if the RMS of the weights is below 1e-12.
/// @source the published definition of NRMSE
double nrmse(double squared_error, double sum_squares, int64_t count);

/// 10 log10(sum_squares / squared_error), dB; 100 if the mean squared error is below 1e-20.
/// @source the published definition of SQNR
double sqnr_db(double squared_error, double sum_squares, int64_t count);

}  // namespace ram
