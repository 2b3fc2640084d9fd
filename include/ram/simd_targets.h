// The Highway targets for which vector code is compiled. Must be included before any Highway
// header.
#pragma once

#if defined(__aarch64__)  // NEON only: one vector length, known at compile time
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#elif defined(__x86_64__)  // processors without SSE4 (before 2008) use the scalar code
#define HWY_DISABLED_TARGETS HWY_SSSE3
#endif

#include <hwy/targets.h>
