// What choose_damping compares.
#pragma once

#include "ram/encoder.h"
#include "ram/thread.h"

namespace ram {

inline constexpr double kDampings[] = {0.003, 0.01, 0.03, 0.1, 0.3, 1};

/// What independent rounding errors cost on the held inputs with feedback for the rest, over what
/// they cost without feedback. 0 if the rest is zero; infinite if the damped moment cannot be
/// factored.
double held_loss(const HeldOut& inputs, double damping, ThreadPool& pool);

}  // namespace ram
