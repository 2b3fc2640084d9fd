// Lower convex hull per unit, the critical slope by selection, and the base that follows from both.
#include "relaxation.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "sum.h"

namespace ram {
namespace {

/// One edge of a unit's lower convex hull.
struct Edge {
  double slope = 0;  ///< loss saved per step of weight
  int64_t weight = 0;
  uint32_t item = 0;  ///< the item at its heavier end
};

double slope_between(const Item& light, const Item& heavy) {
  return (light.loss - heavy.loss) / static_cast<double>(heavy.weight - light.weight);
}

/// Appends the hull's edges. The computed slopes are strictly descending, despite rounding, so that
/// comparing slopes never contradicts the order of the edges.
void append_hull(const Instance& instance, size_t unit, std::vector<Edge>& edges) {
  const uint32_t begin = instance.first[unit];
  const size_t start = edges.size();
  for (uint32_t i = begin + 1; i < instance.first[unit + 1]; ++i) {
    const Item& item = instance.items[i];
    for (;;) {
      const bool at_start = edges.size() == start;
      const Item& from = instance.items[at_start ? begin : edges.back().item];
      const double slope = slope_between(from, item);
      if (at_start || slope < edges.back().slope) {
        edges.push_back({slope, item.weight - from.weight, i});
        break;
      }
      edges.pop_back();
    }
  }
}

double median_of_three(double a, double b, double c) {
  return std::max(std::min(a, b), std::min(std::max(a, b), c));
}

/// The largest slope s such that all edges with slope >= s together exceed the capacity; 0 if all
/// edges fit.
double critical_slope(std::vector<Edge> edges, int64_t capacity) {
  auto begin = edges.begin();
  auto end = edges.end();
  double critical = 0;
  while (begin != end) {
    const double pivot =
        median_of_three(begin->slope, (begin + (end - begin) / 2)->slope, (end - 1)->slope);
    const auto equal =
        std::partition(begin, end, [pivot](const Edge& e) { return e.slope > pivot; });
    const auto below =
        std::partition(equal, end, [pivot](const Edge& e) { return e.slope == pivot; });
    int64_t weight_above = 0;
    for (auto it = begin; it != equal; ++it) weight_above += it->weight;
    if (weight_above > capacity) {
      end = equal;
      continue;
    }
    int64_t weight_equal = 0;
    for (auto it = equal; it != below; ++it) weight_equal += it->weight;
    if (weight_above + weight_equal > capacity) return pivot;
    capacity -= weight_above + weight_equal;
    begin = below;
  }
  return critical;
}

/// The relaxation's value, reduced by the largest possible rounding error.
double bound_at(const Instance& instance, const Relaxation& relaxed, int64_t capacity) {
  if (relaxed.price == 0) {
    CompensatedSum least;
    for (size_t unit = 0; unit < instance.units(); ++unit)
      least.add(instance.unit(unit).back().loss);
    return least.value();
  }
  // A difference of two sums, each off by a few roundings of its own size. 16 roundings cover the
  // sums, the product and the slopes that determined the base.
  const double spent = relaxed.price * static_cast<double>(capacity);
  const double margin = 16 * std::numeric_limits<double>::epsilon() * (relaxed.base_loss + spent);
  const double unused = relaxed.price * static_cast<double>(relaxed.residual);
  return std::max(0.0, relaxed.base_loss - unused - margin);
}

}  // namespace

double reduced_cost(const Item& base, const Item& item, double price) {
  // Along a hull edge the two terms nearly cancel, so their rounding errors matter.
  // @source T. J. Dekker, A floating-point technique for extending the available precision, 1971
  const double loss = item.loss - base.loss;
  const double base_part = item.loss - loss;
  const double item_part = loss + base_part;
  const double loss_error = (item.loss - item_part) + (base_part - base.loss);
  const double weight = static_cast<double>(item.weight - base.weight);
  const double bytes = price * weight;
  const double bytes_error = std::fma(price, weight, -bytes);
  return (loss + bytes) + (bytes_error + loss_error);
}

Relaxation relax(const Instance& instance, int64_t capacity) {
  std::vector<Edge> edges;
  edges.reserve(instance.items.size());
  std::vector<uint32_t> first_edge{0};
  first_edge.reserve(instance.units() + 1);
  for (size_t unit = 0; unit < instance.units(); ++unit) {
    append_hull(instance, unit, edges);
    first_edge.push_back(static_cast<uint32_t>(edges.size()));
  }
  Relaxation relaxed;
  relaxed.price = critical_slope(edges, capacity);
  relaxed.base.assign(instance.first.begin(), instance.first.end() - 1);
  relaxed.residual = capacity;
  for (size_t unit = 0; unit < instance.units(); ++unit) {
    for (uint32_t e = first_edge[unit]; e < first_edge[unit + 1]; ++e) {
      if (edges[e].slope <= relaxed.price) break;
      relaxed.base[unit] = edges[e].item;
      relaxed.residual -= edges[e].weight;
    }
  }
  for (size_t unit = 0; unit < instance.units(); ++unit) {
    for (uint32_t e = first_edge[unit]; e < first_edge[unit + 1]; ++e) {
      if (edges[e].slope > relaxed.price) continue;
      if (edges[e].slope == relaxed.price && edges[e].weight <= relaxed.residual) {
        relaxed.base[unit] = edges[e].item;
        relaxed.residual -= edges[e].weight;
      }
      break;
    }
  }
  CompensatedSum loss;
  for (const uint32_t item : relaxed.base) loss.add(instance.items[item].loss);
  relaxed.base_loss = loss.value();
  relaxed.bound = bound_at(instance, relaxed, capacity);
  return relaxed;
}

double knapsack_lower_bound(const Knapsack& problem, int64_t budget_bytes) {
  const Instance instance = make_instance(problem);
  if (budget_bytes < instance.least_bytes) return std::numeric_limits<double>::infinity();
  return relax(instance, instance.capacity(budget_bytes)).bound;
}

}  // namespace ram
