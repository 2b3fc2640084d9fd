// The scalar reference: encode, decode and distortion written as the rule is stated, slow and
// plain. The SIMD versions must match it bit for bit, and use it where their fast path does not
// apply.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ram/quant.h"

namespace ram {

/// As affine_encode.
void affine_encode_ref(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                       AffineFormat format, DType dtype, uint32_t* codes, std::byte* scales,
                       std::byte* biases);

/// As affine_pack.
void affine_pack_ref(const uint8_t* codes, int64_t count, int bits, uint32_t* packed);

/// As affine_decode.
void affine_decode_ref(const uint32_t* codes, const std::byte* scales, const std::byte* biases,
                       DType dtype, int64_t rows, int64_t cols, AffineFormat format, float* out);

/// The exact version of measure_distortion: true division, decoded values and sums in double. A
/// group whose stored scale is infinite decodes to NaN; its error counts as infinite.
Distortion distortion_truth(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                            uint32_t formats, DType dtype, Encoder encoder);

/// As find_non_finite.
int64_t find_non_finite_ref(const std::byte* weights, DType source, int64_t count, DType dtype);

}  // namespace ram
