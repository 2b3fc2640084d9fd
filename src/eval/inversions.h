// Rankings that contradict each other: which rows do it, and which ranking deserves belief.
#pragma once

#include <vector>

#include "ram/eval.h"

namespace ram {

/// Looks at all pairs for a mean that ranks otherwise than the median, and at the models for one
/// that beats the reference on the mean.
/// @pre the pairs of `comparison` are filled in, verdicts included.
std::vector<InversionReport> find_inversions(const Comparison& comparison,
                                             const Tokenizer& tokenizer);

}  // namespace ram
