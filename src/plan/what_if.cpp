// Compares a plan with others.
#include "ram/what_if.h"

#include <algorithm>
#include <numeric>

#include "ram/mlx_layout.h"
#include "ram/quant.h"

#include "objective.h"

namespace ram {
namespace {

constexpr int64_t kMegabyte = 1000000;

OtherPlan changes_to(const Plan& plan, const Plan& other) {
  OtherPlan result = {.loss = other.objective, .changes = {}};
  for (size_t u = 0; u < plan.units.size(); ++u) {
    const PlannedUnit& before = plan.units[u];
    const PlannedUnit& after = other.units[u];
    if (before.format == after.format) continue;
    result.changes.push_back({u, before.format, after.format, after.bytes - before.bytes});
  }
  return result;
}

}  // namespace

std::optional<OtherPlan> next_megabyte(const PlanInput& input, const Plan& plan) {
  if (plan.method == Method::kUniform) return std::nullopt;
  PlanRequest request = plan.request;
  request.bits_per_weight.reset();
  request.budget_bytes = std::max(plan.budget_bytes, plan.total_bytes) + kMegabyte;
  const PlanResult result = make_plan(input, request);
  if (!result.plan) return std::nullopt;
  return changes_to(plan, *result.plan);
}

std::optional<OtherPlan> within_budget(const PlanInput& input, const Plan& plan) {
  if (plan.total_bytes <= plan.budget_bytes) return std::nullopt;
  const PlanResult result = make_plan(input, plan.request);
  return result.plan ? std::optional(changes_to(plan, *result.plan)) : std::nullopt;
}

std::vector<size_t> by_loss_per_byte(const Plan& plan) {
  std::vector<size_t> order(plan.units.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto density = [&](size_t u) {
    const auto bytes = static_cast<double>(std::max<int64_t>(1, plan.units[u].bytes));
    return unit_loss(plan, plan.units[u]) / bytes;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return density(a) > density(b); });
  std::erase_if(order, [&](size_t u) { return unit_loss(plan, plan.units[u]) <= 0; });
  return order;
}

double RoleShare::bits_per_weight() const {
  return weights > 0 ? 8.0 * static_cast<double>(bytes) / static_cast<double>(weights) : 0;
}

double loss_per_mb(const Plan& plan, const PlannedUnit& unit) {
  return unit_loss(plan, unit) * static_cast<double>(kMegabyte) / static_cast<double>(unit.bytes);
}

std::map<Role, RoleShare> role_shares(const Checkpoint& checkpoint, const Plan& plan) {
  std::map<Role, RoleShare> shares;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    const PlannedUnit& unit = plan.units[u];
    RoleShare& share = shares[checkpoint.units[u].role];
    share.units += 1;
    share.weights += unit.weights;
    share.bytes += unit.bytes;
    share.formats[unit_format_name(unit.format, plan.dtype)] += 1;
  }
  return shares;
}

bool is_kept(const Unit& unit, const std::set<Role>& keep) {
  return !unit.quantizable || keep.contains(unit.role) || formats_for_cols(unit.cols) == 0;
}

int64_t default_min_safe_bytes(const Checkpoint& checkpoint, const ModelCurves& stored) {
  PlanRequest request;
  request.dtype = stored.dtype;
  return min_safe_bytes({checkpoint, stored, nullptr}, request);
}

// 3 bits at the largest group size that divides the rows, the cheapest format that passes 9 dB on
// weights of every usual distribution, plus room for plan.json (about 200 bytes per unit) and
// README.md.
int64_t estimate_min_safe_bytes(const Checkpoint& checkpoint, const std::set<Role>& keep) {
  constexpr int64_t kPlanBytesPerUnit = 200;
  constexpr int64_t kReadmeBytes = 4096;
  std::vector<UnitFormat> formats;
  for (const Unit& unit : checkpoint.units) {
    UnitFormat format;
    if (unit.quantizable && !keep.contains(unit.role)) {
      for (const int group : {32, 64, 128}) {
        if (unit.cols % group == 0) format = AffineFormat{.bits = 3, .group_size = group};
      }
    }
    formats.push_back(format);
  }
  return layout_folder(checkpoint, formats, checkpoint.default_dtype()).total_bytes() +
         static_cast<int64_t>(formats.size()) * kPlanBytesPerUnit + kReadmeBytes;
}

}  // namespace ram
