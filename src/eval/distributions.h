// Binomial and normal probabilities, in double precision.
#pragma once

#include <cstdint>

namespace ram {

/// P(X = hits) of Binomial(trials, share). @pre 0 <= hits <= trials, 0 <= share <= 1.
double binomial_term(int64_t trials, int64_t hits, double share);

/// P(X <= hits) of Binomial(trials, share); 0 for hits < 0, 1 for hits >= trials.
double binomial_lower_tail(int64_t trials, int64_t hits, double share);

/// The z with P(|Z| >= z) = p of the normal distribution. @pre 0 < p < 1.
double normal_quantile(double p);

}  // namespace ram
