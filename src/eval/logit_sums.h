// Sums over pieces of a vocabulary, from which losses and divergences are computed: the state
// between two pieces for one token of one model, or of a model and its reference.
//
// Everything is summed in double from float32 logits; exponentials are relative to the largest
// logit so far, and rescaled when a larger one comes.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

namespace ram {

/// log-sum-exp of logits that come in pieces, and the most likely token.
struct LogitSum {
  float largest = -std::numeric_limits<float>::infinity();
  int32_t likeliest = 0;  ///< id of the first of the largest logits
  double sum = 0;         ///< of exp(logit - largest)

  double log_sum_exp() const { return static_cast<double>(largest) + std::log(sum); }
};

/// Adds ids [first_id, first_id + count) to the sum. @pre the logits are finite, count >= 1.
void add_logits(LogitSum& sum, const float* logits, int64_t first_id, int64_t count);

/// The same for a reference and `models` models at once, and for each model `cross`, the sum of
/// exp(a - largest a) * (a - b) over the reference's logits a and the model's b.
/// @param logits [1 + models] pointers, the reference's first.
/// @param sums   [1 + models]. @param cross [models].
void add_logits_of_all(LogitSum* sums, double* cross, const float* const* logits, int models,
                       int64_t first_id, int64_t count);

/// KL(reference || model) in nats, at least 0; exactly 0 for equal logits.
inline double divergence(const LogitSum& reference, const LogitSum& model, double cross) {
  const double kl = cross / reference.sum - reference.log_sum_exp() + model.log_sum_exp();
  return kl > 0 ? kl : 0;
}

}  // namespace ram
