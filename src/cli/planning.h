// The options of planning, shared by fit, plan and sweep. Typed options are checked before any file
// is opened, and become a PlanRequest.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ram/arguments.h"
#include "ram/checkpoint.h"
#include "ram/console.h"
#include "ram/plan.h"
#include "ram/size.h"

namespace ram::cli {

/// As typed.
struct PlanningArguments {
  std::string budget;
  std::optional<double> bpw;
  std::string uniform;
  std::string method;
  std::string encoder;  ///< empty: mlx
  std::string menu;
  int min_bits = 0;
  std::string keep = "router,norm";
  std::vector<std::string> pins;
  std::vector<std::string> priors;
  double veto_db = PlanRequest().veto_db;
  bool allow_unsafe = false;
  std::string dtype;
  double time_limit_s = PlanRequest().time_limit_s;
  bool rehash = false;
  bool operator==(const PlanningArguments&) const = default;
};

/// @param with_budget also add --budget, --bpw and --uniform.
void add_planning_options(Arguments app, PlanningArguments& arguments, bool with_budget);

/// A request whose size still depends on the model.
struct Planning {
  PlanRequest request;
  std::optional<Size> budget;
  std::optional<DType> dtype;
};

/// @param needs_budget exactly one of --budget, --bpw and --uniform must be given.
/// @throws Error{kUsage} naming the option, what was found and what is allowed.
Planning parse_planning(const PlanningArguments& arguments, bool needs_budget);

/// @return the request for this model: percent resolved, dtype chosen.
PlanRequest resolve(const Planning& planning, const Checkpoint& checkpoint);

/// @return the dtype that --dtype says, or nothing if it is empty. @throws Error{kUsage}
std::optional<DType> parse_dtype_option(const std::string& text);

/// @throws Error{kUsage}
Encoder parse_encoder_option(const std::string& text);

/// Reports that no plan fits: with --json {"error", "min_safe_bytes"} on stdout, and a line on
/// stderr.
/// @return kBudgetTooSmall
int refuse_budget(const Common& common, const PlanRequest& request, int64_t min_safe_bytes);

}  // namespace ram::cli
