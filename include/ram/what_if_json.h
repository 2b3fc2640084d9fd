// Models, plans and explanations of plans as JSON documents: what `inspect --json` and `explain
// --json` print (docs/cli.md). Part of the module `plan`.
#pragma once

#include <optional>
#include <set>
#include <span>

#include "ram/json.h"
#include "ram/what_if.h"

namespace ram {

/// @param keep roles that a plan would leave unquantized; ignored if the model is quantized.
nlohmann::ordered_json model_json(const Checkpoint& checkpoint, const std::set<Role>& keep);

/// @param units positions in Plan::units. @return each with its format, bytes, error and loss.
nlohmann::ordered_json units_json(const Plan& plan, std::span<const size_t> units);

/// @param units positions of the units to show, as from by_loss_per_byte.
/// @param next from next_megabyte. @param within from within_budget.
nlohmann::ordered_json explanation_json(const PlanInput& input, const Plan& plan,
                                        std::span<const size_t> units,
                                        const std::optional<OtherPlan>& next,
                                        const std::optional<OtherPlan>& within);

nlohmann::ordered_json explanation_json(const UnitExplanation& why, DType dtype);

}  // namespace ram
