// The public entrances of the affine formats.
#include "ram/quant.h"

#include "affine_ref.h"

namespace ram {

void affine_encode(const std::byte* weights, DType source, int64_t rows, int64_t cols,
                   AffineFormat format, DType dtype, uint32_t* codes, std::byte* scales,
                   std::byte* biases) {
  affine_encode_ref(weights, source, rows, cols, format, dtype, codes, scales, biases);
}

void affine_decode(const uint32_t* codes, const std::byte* scales, const std::byte* biases,
                   DType dtype, int64_t rows, int64_t cols, AffineFormat format, float* out) {
  affine_decode_ref(codes, scales, biases, dtype, rows, cols, format, out);
}

int64_t find_non_finite(const std::byte* weights, DType source, int64_t count, DType dtype) {
  return find_non_finite_ref(weights, source, count, dtype);
}

}  // namespace ram
