#include "product.h"

#include <oneapi/dnnl/dnnl.h>

#include "ram/error.h"
#include "ram/thread.h"

namespace ram {
void multiply(const DenseProduct& p) {
  if (p.m == 0 || p.n == 0 || (p.k == 0 && p.beta == 1)) return;
  use_one_openmp_thread();
  // With DNNL_VERBOSE set, oneDNN would print to stdout, into the program's output.
  static const auto kQuiet = dnnl_set_verbose(0);
  (void)kQuiet;
  const auto status =
      dnnl_sgemm(p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N', p.m, p.n, p.k, p.alpha, p.a,
                 p.a_stride, p.b, p.b_stride, p.beta, p.c, p.c_stride);
  if (status != dnnl_success) {
    fail(Code::kInternal, "oneDNN: sgemm [{}, {}] by [{}, {}] failed with status {}", p.m, p.k, p.k,
         p.n, static_cast<int>(status));
  }
}

}  // namespace ram
