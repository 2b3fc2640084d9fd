// Tests of all pairs of a comparison, and their verdicts.
#pragma once

#include <cstdint>

#include "ram/eval.h"

namespace ram {

/// @return the perplexity of the reference (0) or of the which-th model.
const Perplexity& perplexity_of(const Comparison& comparison, int which);

/// Tests every pair of models, corrects p by Holm's method over all pairs, and judges them. In a
/// pair the later model comes first, so that a pair with the reference is "model minus reference".
/// Each model also gets a separate test against the reference.
/// @pre rows, divergences and noise floor are filled in.
void test_pairs(Comparison& comparison, uint64_t seed, int threads);

}  // namespace ram
