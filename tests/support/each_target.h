// Every kind of vector that this machine has, for tests of code that Highway dispatches.
#pragma once

#include <cstdint>

#include "ram/simd_targets.h"

namespace ram {

/// Calls `check` once for each kind of vector that this machine has, named for messages.
template <typename Check>
void on_each_target(const Check& check) {
#ifdef HWY_COMPILE_ONLY_STATIC
  check("the only target");
#else
  static const int64_t kAll = hwy::SupportedTargets();  // asking the processor is slow
  for (int bit = 0; bit < 63; ++bit) {
    const int64_t target = int64_t{1} << bit;
    if ((kAll & HWY_TARGETS & target) == 0) continue;
    hwy::GetChosenTarget().Update(target);
    check(hwy::TargetName(target));
  }
  hwy::GetChosenTarget().Update(kAll);
#endif
}

}  // namespace ram
