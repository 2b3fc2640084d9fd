// Products of dense row-major matrices by oneDNN, each on the calling thread alone: the order of
// sums depends on shapes only, never on the number of threads.
#pragma once

#include <cstdint>

namespace ram {

/// c = alpha op(a) op(b) + beta c; op(a) is [m, k], op(b) [k, n], c [m, n]. Strides are between
/// rows as stored.
struct DenseProduct {
  bool transpose_a = false;  ///< a is stored [k, m]
  bool transpose_b = false;  ///< b is stored [n, k]
  int64_t m = 0;
  int64_t n = 0;
  int64_t k = 0;
  float alpha = 1;
  const float* a = nullptr;
  int64_t a_stride = 0;
  const float* b = nullptr;
  int64_t b_stride = 0;
  float beta = 0;
  float* c = nullptr;
  int64_t c_stride = 0;
};

void multiply(const DenseProduct& product);

}  // namespace ram
