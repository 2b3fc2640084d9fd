// Losses and comparisons as JSON documents: what `perplexity --json` and `compare --json` print
// (docs/cli.md). Part of the module `eval`.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "ram/eval.h"
#include "ram/json.h"

namespace ram {

/// @return "mean", "median", "neither".
std::string_view belief_name(Belief belief);

/// The keys that describe the scored text, in every document.
nlohmann::ordered_json text_json(const RowOptions& options, const TextRows& text);

/// An end of an interval that is not finite is written as null.
/// @param labels of the reference, then of the models.
nlohmann::ordered_json comparison_json(const RowOptions& options, const Comparison& comparison,
                                       const std::vector<std::string>& labels);

nlohmann::ordered_json perplexity_json(const RowOptions& options, const PerplexityResult& result);

}  // namespace ram
