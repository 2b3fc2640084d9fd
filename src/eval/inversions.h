// Contradicting rankings: which rows cause them, and which ranking to believe.
#pragma once

#include <vector>

#include "ram/eval.h"

namespace ram {

/// Searches all pairs for a mean that ranks differently from the median, and the models for one
/// that beats the reference on the mean.
/// @pre the pairs of `comparison` are filled in, verdicts included.
std::vector<InversionReport> find_inversions(const Comparison& comparison,
                                             const Tokenizer& tokenizer);

}  // namespace ram
