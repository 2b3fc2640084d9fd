// Questions about a plan: what another budget would change, where its loss is, each role's share.
// Part of the module `plan`.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/plan.h"

namespace ram {

/// A unit that another plan stores in another format.
struct FormatChange {
  size_t unit = 0;  ///< position in Plan::units
  UnitFormat from;
  UnitFormat to;
  int64_t bytes = 0;  ///< additional bytes
};

/// The plan for another budget, and its differences.
struct OtherPlan {
  double loss = 0;
  std::vector<FormatChange> changes;  ///< in the units' order
};

/// The effect of one more megabyte (10^6 bytes): solves the same request again.
/// @return nothing for a uniform plan. @cost a plan.
std::optional<OtherPlan> next_megabyte(const PlanInput& input, const Plan& plan);

/// What the best plan within the budget changes in a plan that exceeds it.
/// @return nothing if the plan is within the budget, or if no safe plan is. @cost a plan.
std::optional<OtherPlan> within_budget(const PlanInput& input, const Plan& plan);

/// @return the positions of the units with a loss, those with the most loss per byte first.
std::vector<size_t> by_loss_per_byte(const Plan& plan);

/// @return the loss of a unit over its bytes, per megabyte (10^6 bytes).
double loss_per_mb(const Plan& plan, const PlannedUnit& unit);

/// One role's share of a plan.
struct RoleShare {
  int64_t units = 0;
  int64_t weights = 0;
  int64_t bytes = 0;
  std::map<std::string, int64_t> formats;  ///< units by unit_format_name

  double bits_per_weight() const;  ///< 0 without weights
};

/// @return shares by role, for roles that have units.
std::map<Role, RoleShare> role_shares(const Checkpoint& checkpoint, const Plan& plan);

/// @return whether these settings leave a unit unquantized under any budget.
bool is_kept(const Unit& unit, const std::set<Role>& keep);

/// @return the smallest safe folder with the default PlanRequest, in the curves' dtype.
int64_t default_min_safe_bytes(const Checkpoint& checkpoint, const ModelCurves& stored);

/// @return an estimate of the smallest safe folder, before anything is measured.
/// @source reference-method.md, "Reference values": 2 bits lose 8.1 dB at best, 3 bits 14.3 dB
int64_t estimate_min_safe_bytes(const Checkpoint& checkpoint, const std::set<Role>& keep);

}  // namespace ram
