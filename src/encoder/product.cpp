#include "product.h"

#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.h>

#include "ram/error.h"

namespace ram {
namespace {

/// oneDNN is built with OpenMP on most systems, and we need nothing else of it: its one function is
/// taken from whichever runtime came along.
void use_one_thread() {
  thread_local bool done = false;
  if (done) return;
  done = true;
  using SetThreads = void (*)(int);
  static const auto kSetThreads =
      reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (kSetThreads != nullptr) kSetThreads(1);
}

}  // namespace

void multiply(const DenseProduct& p) {
  if (p.m == 0 || p.n == 0 || (p.k == 0 && p.beta == 1)) return;
  use_one_thread();
  const auto status =
      dnnl_sgemm(p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N', p.m, p.n, p.k, p.alpha, p.a,
                 p.a_stride, p.b, p.b_stride, p.beta, p.c, p.c_stride);
  if (status != dnnl_success) {
    fail(Code::kInternal, "oneDNN: sgemm [{}, {}] by [{}, {}] failed with status {}", p.m, p.k, p.k,
         p.n, static_cast<int>(status));
  }
}

}  // namespace ram
