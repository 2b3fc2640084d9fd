// The conclusions about a pair of models, in words. Part of the module `eval`.
#pragma once

#include <string>
#include <vector>

#include "ram/eval.h"

namespace ram {

/// @return a verdict in words: nats per token as a change of perplexity in percent, rounded to the
///         precision of its error; adds divergences if perplexity does not decide.
/// @param labels of the reference, then of the models.
std::string pair_verdict(const Comparison& comparison, const PairTest& test,
                         const std::vector<std::string>& labels);

/// @return whether mean and median contradict each other for two models; 0 is the reference.
bool is_inverted(const Comparison& comparison, int a, int b);

}  // namespace ram
