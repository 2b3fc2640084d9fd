// The uniform format with which a plan is compared, to give its loss a scale.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "assemble.h"

namespace ram {
namespace {

// Objective and bound are sums of the same terms in different order.
constexpr double kSumRounding = 1e-9;

// Measured by the plan's own loss, but with plain rounding, as in mlx_lm.convert; nothing if this
// loss is not finite for some unit.
std::optional<double> plain_loss(const PlanInput& input, const Plan& plan,
                                 const Objective& objective, std::span<const UnitFormat> formats) {
  double loss = 0;
  for (size_t u = 0; u < formats.size(); ++u) {
    const Candidate* chosen = find_candidate(objective.units[u], formats[u]);
    if (chosen == nullptr) return std::nullopt;
    if (!chosen->format) continue;
    const double gain =
        plan.method == Method::kMeasured
            ? plan.request.gains.of(input.checkpoint.units[u].name, format_index(*chosen->format))
            : 1;
    loss += chosen->loss / gain;
  }
  return loss;
}

// The bound is over the formats that the request allows: without limits, over all.
bool is_limited(const Plan& plan) {
  const PlanRequest& request = plan.request;
  return !request.menu.empty() || request.min_bits > 0 || !request.pins.empty();
}

// An upper bound must not be rounded down.
double two_digits_up(double value) {
  const double step = std::pow(10.0, std::floor(std::log10(value)) - 1);
  return std::ceil(value / step * (1 - kSumRounding)) * step;
}

PlanRequest uniform_request(AffineFormat format, DType dtype) {
  PlanRequest request;
  request.uniform = format;
  request.method = Method::kUniform;
  request.dtype = dtype;
  return request;
}

}  // namespace

std::optional<UniformBeside> uniform_beside(const PlanInput& input, const Plan& plan) {
  const Checkpoint& checkpoint = input.checkpoint;
  std::vector<std::pair<int64_t, AffineFormat>> by_bytes;
  for (const AffineFormat format : kAffineFormats) {
    const PlanRequest request = uniform_request(format, plan.dtype);
    const Objective uniform = make_objective(input, request);
    const std::vector<UnitFormat> formats = uniform_formats(checkpoint, request, uniform);
    int64_t bytes = 0;
    for (size_t u = 0; u < formats.size(); ++u) {
      bytes += find_candidate(uniform.units[u], formats[u])->bytes;
    }
    if (bytes <= plan.total_bytes) by_bytes.emplace_back(bytes, format);
  }
  std::stable_sort(by_bytes.begin(), by_bytes.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  const Objective objective = make_objective(input, plan.request);
  for (const auto& [bytes, format] : by_bytes) {
    const PlanResult made = make_plan(input, uniform_request(format, plan.dtype));
    if (!made.plan || made.plan->total_bytes > plan.total_bytes) continue;
    std::vector<UnitFormat> formats;
    for (const PlannedUnit& unit : made.plan->units) formats.push_back(unit.format);
    const std::optional<double> loss = plain_loss(input, plan, objective, formats);
    if (!loss) continue;
    return UniformBeside{.format = format, .total_bytes = made.plan->total_bytes, .loss = *loss};
  }
  return std::nullopt;
}

std::string optimality(const Plan& plan) {
  const double gap = plan.objective - plan.lower_bound;
  const char* of_what = is_limited(plan) ? " within the request" : "";
  if (gap <= kSumRounding * plan.objective) {
    return fmt::format("the least for this size{} (proven)", of_what);
  }
  if (plan.lower_bound <= 0) return "how far above the least for this size is not known";
  if (plan.method == Method::kUniform) {
    return fmt::format("at most {:.3g} times what mixed formats lose at this size",
                       plan.objective / plan.lower_bound);
  }
  return fmt::format("at most {:.2g} % above the least for this size{}",
                     two_digits_up(100 * gap / plan.lower_bound), of_what);
}

bool nothing_quantized(const Plan& plan) {
  return std::none_of(plan.units.begin(), plan.units.end(),
                      [](const PlannedUnit& unit) { return unit.format.has_value(); });
}

}  // namespace ram
