// The input of planning: for each unit the ways to store it, their bytes and their loss under a
// method. Priors, menus, vetoes, kept roles and pins are resolved here; later steps see only
// options.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ram/allocate.h"
#include "ram/plan.h"

namespace ram {

/// One way to store a unit.
struct Candidate {
  UnitFormat format;
  int64_t bytes = 0;
  double loss = 0;
  double nrmse = 0;    ///< of the stored values (Encoder::kMlx)
  double sqnr_db = 0;  ///< of the curves that the method plans with
  bool allowed = false;
  bool below_veto = false;
};

struct UnitCandidates {
  bool kept = false;
  bool pinned = false;
  bool no_group_divides = false;
  std::optional<double> prior;        ///< nothing: the unit is kept
  std::vector<Candidate> candidates;  ///< bits ascending, group size descending, unquantized last
};

struct Objective {
  std::vector<UnitCandidates> units;
  std::vector<AffineFormat> menu;  ///< effective: after min_bits
};

/// @throws Error{kUsage} a pin that matches nothing or whose format is impossible for its unit; an
/// empty menu.
Objective make_objective(const PlanInput& input, const PlanRequest& request);

/// The knapsack over the allowed candidates (`positions[u][o]`: the candidate of option o of unit
/// u).
struct PlanKnapsack {
  Knapsack knapsack;
  std::vector<std::vector<int>> positions;
};

/// @param lift_veto includes candidates that only the veto forbids.
PlanKnapsack make_knapsack(const Objective& objective, bool lift_veto);

/// @return the candidate with this format, or null.
const Candidate* find_candidate(const UnitCandidates& unit, UnitFormat format);

/// @return the unit's prior by role, first layer, last layer; the first match wins.
double unit_prior(const Checkpoint& checkpoint, const Unit& unit, const Priors& priors);

/// @param pattern a name in which `*` matches any characters.
bool matches(std::string_view pattern, std::string_view text);

}  // namespace ram
