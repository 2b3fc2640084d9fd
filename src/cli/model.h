// A model with its curves, as most subcommands need it; and how plans and roles are shown.
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

/// Opens a model that is to be fitted or looked at, and says on stderr what people should know of
/// it: Checkpoint::notes, and a tokenizer that is larger than the vocabulary.
/// @throws as Checkpoint::open. @cost also of reading tokenizer.json: 0.2 s for 150,000 tokens.
Checkpoint open_source(const Common& common, const std::string& model,
                       Quantized quantized = Quantized::kRefuse);

/// @return the line of a summary that says that there is no tokenizer; empty where there is one.
std::string tokenizer_line(const Checkpoint& checkpoint);

/// measure_curves_for, with progress.
Curves measure_for(const Common& common, const Checkpoint& checkpoint, Study& study, Method method,
                   DType dtype, bool rehash);

/// @return "4:64 x12, bf16 x3, 2 more": the commonest first.
std::string formats_cell(const std::map<std::string, int64_t>& formats, size_t most);

/// @return the table of a plan by role: units, weights, bytes, bits per weight, formats.
std::string plan_table(const Checkpoint& checkpoint, const Plan& plan);

/// @return lines that say what was asked, what came out, how good it is, and how near the best.
/// @param beside of the plan (uniform_beside).
std::string plan_summary(const Plan& plan, const std::optional<UniformBeside>& beside);

/// @return "written to OUT", or that it was there already.
std::string outcome_text(BuildOutcome outcome, const std::filesystem::path& out);

}  // namespace ram::cli
