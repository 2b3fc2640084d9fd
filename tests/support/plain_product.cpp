// The encoders' products in plain loops, for the tests on aarch64 (scripts/aarch64), where oneDNN
// is not available.
#include <cstddef>
#include <vector>

#include "product.h"

namespace ram {

void multiply(const DenseProduct& p) {
  // A whole row of c at a time, so that the compiler vectorizes the loop: emulation is slow.
  std::vector<float> b(static_cast<size_t>(p.k * p.n));
  for (int64_t k = 0; k < p.k; ++k) {
    for (int64_t j = 0; j < p.n; ++j) {
      b[k * p.n + j] = p.transpose_b ? p.b[j * p.b_stride + k] : p.b[k * p.b_stride + j];
    }
  }
  std::vector<float> sums(static_cast<size_t>(p.n));
  for (int64_t i = 0; i < p.m; ++i) {
    sums.assign(sums.size(), 0);
    for (int64_t k = 0; k < p.k; ++k) {
      const float a = p.transpose_a ? p.a[k * p.a_stride + i] : p.a[i * p.a_stride + k];
      for (int64_t j = 0; j < p.n; ++j) sums[j] += a * b[k * p.n + j];
    }
    for (int64_t j = 0; j < p.n; ++j) {
      float& c = p.c[i * p.c_stride + j];
      c = p.alpha * sums[j] + (p.beta == 0 ? 0 : p.beta * c);
    }
  }
}

}  // namespace ram
