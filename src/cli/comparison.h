// Text of a comparison of models, for `compare` and `demo`.
#pragma once

#include <string>
#include <vector>

#include "ram/eval_json.h"

#include "evaluation.h"
#include "model.h"

namespace ram::cli {

/// One line per model of at most 80 columns: size, perplexities, divergence; then the verdicts.
std::string comparison_table(const Comparison& comparison, const std::vector<std::string>& labels);

/// A sentence about the noise floor.
std::string noise_text(const Comparison& comparison);

/// The table, the pairs, the noise floor and the inversions.
std::string comparison_text(const TextArguments& arguments, const Comparison& comparison,
                            const std::vector<std::string>& labels);

}  // namespace ram::cli
