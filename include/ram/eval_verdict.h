// What may be said of a pair of models, in words. Part of the module `eval`.
#pragma once

#include <string>
#include <vector>

#include "ram/eval.h"

namespace ram {

/// @return a verdict in words: nats per token as a change of perplexity in percent, with as many
///         digits as its error has; what divergences add where perplexity does not tell.
/// @param labels of the reference, then of the models.
std::string pair_verdict(const Comparison& comparison, const PairTest& test,
                         const std::vector<std::string>& labels);

/// @return whether mean and median contradict each other for two models; 0 is the reference.
bool is_inverted(const Comparison& comparison, int a, int b);

}  // namespace ram
