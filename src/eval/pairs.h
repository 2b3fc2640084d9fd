// Tests of all pairs of a comparison, and what they amount to.
#pragma once

#include <cstdint>

#include "ram/eval.h"

namespace ram {

/// @return what was found of the reference (0) or of the which-th model.
const Perplexity& perplexity_of(const Comparison& comparison, int which);

/// Fills in the pairs, corrected by Holm's method over all of them, later models first, so that the
/// reference's pairs say "model minus reference"; each model's test against the reference; and
/// judges them.
/// @pre rows, divergences and noise floor are filled in.
void test_pairs(Comparison& comparison, uint64_t seed, int threads);

}  // namespace ram
