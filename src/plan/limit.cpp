// The least loss that any code can have at a plan's size: reverse water-filling.
#include <algorithm>
#include <cmath>
#include <optional>
#include <span>
#include <vector>

#include "ram/error.h"
#include "ram/plan.h"

namespace ram {

double water_filling(std::span<const LimitUnit> units, double bits) {
  // A unit that gets b bits per weight loses coefficient * 2^(-2b). At the optimum every unit with
  // bits loses the same per weight, the level; the others lose less than that with none.
  std::vector<LimitUnit> order;
  for (const LimitUnit& unit : units) {
    RAM_CHECK(unit.coefficient >= 0 && unit.weights > 0);
    if (unit.coefficient > 0) order.push_back(unit);
  }
  const auto per_weight = [](const LimitUnit& unit) { return unit.coefficient / unit.weights; };
  std::sort(order.begin(), order.end(),
            [&](const LimitUnit& a, const LimitUnit& b) { return per_weight(a) > per_weight(b); });
  // rest[i]: what units from i on lose without bits, the smallest first: no difference of large
  // sums.
  std::vector<double> rest(order.size() + 1);
  for (size_t i = order.size(); i-- > 0;) rest[i] = rest[i + 1] + order[i].coefficient;
  double weights = 0;
  double logs = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    weights += order[i].weights;
    logs += order[i].weights * std::log2(per_weight(order[i]));
    const double level = std::exp2((logs - 2 * bits) / weights);
    const bool last = i + 1 == order.size();
    if (last || level >= per_weight(order[i + 1])) return weights * level + rest[i + 1];
  }
  return 0;
}

std::optional<double> loss_limit(const Plan& plan) {
  if (plan.method != Method::kSquared && plan.method != Method::kMeasured) return std::nullopt;
  std::vector<LimitUnit> units;
  double bits = 0;
  for (const PlannedUnit& unit : plan.units) {
    if (!unit.prior) continue;
    units.push_back({.coefficient = *unit.prior, .weights = static_cast<double>(unit.weights)});
    bits += 8 * static_cast<double>(unit.bytes);
  }
  if (units.empty() || nothing_quantized(plan)) return std::nullopt;
  return water_filling(units, bits);
}

}  // namespace ram
