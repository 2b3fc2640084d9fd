// Tests of all pairs of a comparison, and what they amount to.
#pragma once

#include <cstdint>

#include "ram/eval.h"

namespace ram {

/// @return what was found of the reference (0) or of the which-th model.
const Perplexity& perplexity_of(const Comparison& comparison, int which);

/// Tests each two models, corrects p by Holm's method over all pairs, and judges them. In a pair
/// the later model comes first, so that a pair with the reference is "model minus reference". Each
/// model also gets its own test against the reference.
/// @pre rows, divergences and noise floor are filled in.
void test_pairs(Comparison& comparison, uint64_t seed, int threads);

}  // namespace ram
