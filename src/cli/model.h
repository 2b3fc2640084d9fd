// A model with its curves, as most subcommands need it; and text of plans and roles.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "ram/checkpoint.h"
#include "ram/console.h"
#include "ram/fit.h"
#include "ram/json.h"
#include "ram/plan.h"
#include "ram/study.h"

namespace ram::cli {

/// Opens a model to fit or inspect, and notes on stderr: Checkpoint::notes, and a tokenizer that is
/// larger than the vocabulary.
/// @throws as Checkpoint::open. @cost includes reading tokenizer.json: 0.2 s for 150,000 tokens.
Checkpoint open_source(const Common& common, const std::string& model,
                       Quantized quantized = Quantized::kRefuse);

/// @return the line of a summary that reports a missing tokenizer; empty if there is one.
std::string tokenizer_line(const Checkpoint& checkpoint);

/// measure_curves_for, with progress.
Curves measure_for(const Common& common, const Checkpoint& checkpoint, Study& study, Method method,
                   DType dtype, bool rehash);

/// @return "4:64 x12, bf16 x3, 2 more": the commonest first.
std::string formats_cell(const std::map<std::string, int64_t>& formats, size_t most);

/// @return the table of a plan by role: units, weights, bytes, bits per weight, formats.
std::string plan_table(const Checkpoint& checkpoint, const Plan& plan);

/// @return lines with the request, the result, its quality, and how close it is to the best.
/// @param beside the uniform format to compare with (uniform_beside).
std::string plan_summary(const Plan& plan, const std::optional<UniformBeside>& beside);

/// @return "written to OUT", or that it existed already.
std::string outcome_text(BuildOutcome outcome, const std::filesystem::path& out);

}  // namespace ram::cli
