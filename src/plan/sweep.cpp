// The curve of least loss against size, and its knee.
#include <algorithm>

#include "ram/error.h"

#include "assemble.h"

namespace ram {
namespace {

// Both axes scaled to [0, 1]: on a falling convex curve the knee is the point farthest below the
// line between the ends.
int find_knee(std::span<const SweepPoint> points) {
  const SweepPoint& first = points.front();
  const SweepPoint& last = points.back();
  const auto width = static_cast<double>(last.total_bytes - first.total_bytes);
  const double height = first.loss - last.loss;
  if (width <= 0 || height <= 0) return 0;
  int knee = 0;
  double farthest = 0;
  for (size_t i = 0; i < points.size(); ++i) {
    const double x = static_cast<double>(points[i].total_bytes - first.total_bytes) / width;
    const double y = (points[i].loss - last.loss) / height;
    if (1 - x - y > farthest) {
      farthest = 1 - x - y;
      knee = static_cast<int>(i);
    }
  }
  return knee;
}

}  // namespace

Sweep sweep_plans(const PlanInput& input, const PlanRequest& asked, int count) {
  RAM_CHECK(count >= 2);
  PlanRequest request = asked;
  request.budget_bytes.reset();
  request.uniform.reset();
  if (request.method == Method::kUniform) request.method = Method::kSquared;
  const Objective objective = make_objective(input, request);
  const PlanKnapsack knapsack = make_knapsack(objective, request.allow_unsafe);
  int64_t least = 0;
  int64_t most = 0;
  for (const std::vector<Option>& options : knapsack.knapsack.units) {
    const auto by_bytes = [](const Option& a, const Option& b) { return a.bytes < b.bytes; };
    least += std::min_element(options.begin(), options.end(), by_bytes)->bytes;
    most += std::max_element(options.begin(), options.end(), by_bytes)->bytes;
  }

  Sweep sweep;
  for (int i = 0; i < count; ++i) {
    const double share = static_cast<double>(i) / (count - 1);
    const int64_t unit_budget =
        i + 1 == count ? most
                       : least + static_cast<int64_t>(share * static_cast<double>(most - least));
    const Allocation answer =
        solve_request(request, knapsack.knapsack, unit_budget, request.time_limit_s);
    RAM_CHECK(answer.feasible);
    Plan plan =
        assemble_plan(input, request, objective, formats_of(objective, knapsack, answer.choice));
    plan.unit_budget_bytes = unit_budget;
    plan.lower_bound = std::min(answer.lower_bound, plan.objective);
    // As if a budget of exactly this size were requested.
    settle_total(input.checkpoint, plan, [](Plan& p, int64_t total) {
      p.request.bits_per_weight.reset();
      p.request.budget_bytes = p.budget_bytes = p.min_safe_bytes = total;
    });
    if (!sweep.points.empty() && plan.total_bytes <= sweep.points.back().total_bytes) continue;
    SweepPoint point = {.total_bytes = plan.total_bytes,
                        .bits_per_weight = plan.bits_per_weight,
                        .loss = plan.objective,
                        .lower_bound = plan.lower_bound,
                        .limit = loss_limit(plan)};
    if (!sweep.points.empty()) {
      const SweepPoint& before = sweep.points.back();
      point.loss_saved_per_mb = (before.loss - point.loss) /
                                (static_cast<double>(point.total_bytes - before.total_bytes) / 1e6);
    }
    sweep.points.push_back(point);
  }
  sweep.knee = find_knee(sweep.points);
  return sweep;
}

}  // namespace ram
