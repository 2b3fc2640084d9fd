// Products of few rows with weights in their stored form: bounded by reading the weights, so
// nothing is unpacked to memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "ram/dtype.h"
#include "ram/quant.h"

namespace ram {

/// A matrix in stored form. `weights` holds its elements (dense), or codes; scales and biases
/// follow the layout of affine_encode.
/// @pre every array is readable for kSlackBytes past its end.
struct StoredMatrix {
  std::optional<AffineFormat> format;
  DType dtype = DType::kF32;  ///< of the elements, or of scales and biases
  int64_t rows = 0;
  int64_t cols = 0;
  const std::byte* weights = nullptr;  ///< elements, or codes
  const std::byte* scales = nullptr;
  const std::byte* biases = nullptr;
};

/// Upper bound on the floats of an arranged input.
int64_t arranged_floats(const AffineFormat& format, int64_t cols);

/// Brings x into the order in which the products with matrices of this format use it, once for all
/// their rows. The order depends on the processor.
/// @param out [arranged_floats]
void arrange_input(const AffineFormat& format, int64_t cols, const float* x, float* out);

/// y[i] = sum over j of W[first + i, j] x[j] for `count` rows of W, on one thread.
/// @param x arranged by arrange_input for W's format; unchanged for a dense matrix.
/// @cost  one read of those rows.
void stored_matvec(const StoredMatrix& matrix, const float* x, int64_t first, int64_t count,
                   float* y);

}  // namespace ram
