// A plan beside others: what it would be with another budget, where its loss is, what each role
// has of it. Part of the module `plan`.
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
  int64_t bytes = 0;  ///< that it takes more
};

/// The plan that another budget would have, and what it changes.
struct OtherPlan {
  double loss = 0;
  std::vector<FormatChange> changes;  ///< in the units' order
};

/// What a megabyte (10^6 bytes) more would buy: the same request solved afresh.
/// @return nothing for a uniform plan. @cost a plan.
std::optional<OtherPlan> next_megabyte(const PlanInput& input, const Plan& plan);

/// What the best plan within a budget changes in a plan that takes more.
/// @return nothing where the budget holds, or no safe plan keeps it. @cost a plan.
std::optional<OtherPlan> within_budget(const PlanInput& input, const Plan& plan);

/// @return the positions of the units that lose something, those with the most loss per byte first.
std::vector<size_t> by_loss_per_byte(const Plan& plan);

/// @return the loss of a unit over its bytes, per megabyte (10^6 bytes).
double loss_per_mb(const Plan& plan, const PlannedUnit& unit);

/// What one role has of a plan.
struct RoleShare {
  int64_t units = 0;
  int64_t weights = 0;
  int64_t bytes = 0;
  std::map<std::string, int64_t> formats;  ///< units by unit_format_name

  double bits_per_weight() const;  ///< 0 where there is no weight
};

/// @return by role; the roles that have units.
std::map<Role, RoleShare> role_shares(const Checkpoint& checkpoint, const Plan& plan);

/// @return whether these settings leave a unit unquantized, whatever the budget.
bool is_kept(const Unit& unit, const std::set<Role>& keep);

/// @return the smallest safe folder with the settings of PlanRequest, in the curves' dtype.
int64_t default_min_safe_bytes(const Checkpoint& checkpoint, const ModelCurves& stored);

/// @return roughly the smallest safe folder, before anything is measured.
/// @source reference-method.md, "Reference values": 2 bits lose 8.1 dB at best, 3 bits 14.3 dB
int64_t estimate_min_safe_bytes(const Checkpoint& checkpoint, const std::set<Role>& keep);

}  // namespace ram
