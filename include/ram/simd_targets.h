// Which of Highway's targets vector code is compiled for. Included before any header of Highway's.
#pragma once

#if defined(__aarch64__)  // NEON only: one vector length, known when compiled
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
#endif

#include <hwy/targets.h>
