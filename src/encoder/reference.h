// The algorithms in plain loops and double precision, with which the fast ones are compared.
#pragma once

#include <span>
#include <vector>

#include "ram/encoder.h"

namespace ram {

/// A group's scale and bias, representable in the stored dtype.
struct StoredRule {
  float scale = 0;
  float bias = 0;
};

/// The nearest code for a stored rule.
int nearest_code(double weight, StoredRule rule, int bits);

/// What search_encode chooses for one group. @param importance one per weight.
StoredRule search_group_ref(std::span<const float> weights, std::span<const float> importance,
                            int bits, DType dtype);

EncodedMatrix search_encode_ref(const EncodeRequest& request, std::span<const float> importance);

/// FeedbackEncoder::encode without its comparison with plain rounding.
EncodedMatrix feedback_encode_ref(const EncodeRequest& request, const SecondMoment& moment,
                                  const FeedbackOptions& options);

double weighted_error_ref(const EncodeRequest& request, const EncodedMatrix& encoded,
                          const SecondMoment& moment, double damping);

/// held_loss exactly: the trace, in double.
double held_loss_ref(const HeldOut& inputs, double damping);

}  // namespace ram
