// Dominance and common divisor: computed once per problem, before any budget is known.
#include "instance.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "ram/error.h"
#include "ram/size.h"

namespace ram {
namespace {

/// Sorts a unit's options into `items` and drops those that another one beats or equals in both
/// bytes and loss.
void append_unit(std::span<const Option> options, std::vector<Item>& items) {
  RAM_CHECK(!options.empty());
  const auto begin = static_cast<std::ptrdiff_t>(items.size());
  for (size_t i = 0; i < options.size(); ++i) {
    RAM_CHECK(options[i].bytes >= 0);
    RAM_CHECK(std::isfinite(options[i].loss) && options[i].loss >= 0);
    items.push_back({options[i].bytes, options[i].loss, static_cast<int32_t>(i)});
  }
  std::sort(items.begin() + begin, items.end(), [](const Item& a, const Item& b) {
    if (a.weight != b.weight) return a.weight < b.weight;
    if (a.loss != b.loss) return a.loss < b.loss;
    return a.option < b.option;
  });
  auto last = items.begin() + begin;
  for (auto it = last + 1; it != items.end(); ++it) {
    if (it->loss < last->loss) *++last = *it;
  }
  items.erase(last + 1, items.end());
}

}  // namespace

Instance make_instance(const Knapsack& problem) {
  Instance instance;
  size_t options = 0;
  for (const auto& unit : problem.units) options += unit.size();
  instance.items.reserve(options);
  instance.first.reserve(problem.units.size() + 1);
  instance.first.push_back(0);
  int64_t largest_bytes = 0;
  int64_t step = 0;
  for (const auto& unit : problem.units) {
    append_unit(unit, instance.items);
    const std::span<Item> items = std::span(instance.items).subspan(instance.first.back());
    const auto sum = checked_add(largest_bytes, items.back().weight);
    RAM_CHECK(sum.has_value());
    largest_bytes = *sum;
    const int64_t cheapest = items.front().weight;
    instance.least_bytes += cheapest;
    for (Item& item : items) {
      item.weight -= cheapest;
      // Once the divisor no longer changes, one remainder is cheaper than a gcd.
      if (step == 0 || item.weight % step != 0) step = std::gcd(step, item.weight);
    }
    instance.first.push_back(static_cast<uint32_t>(instance.items.size()));
  }
  instance.step = std::max<int64_t>(step, 1);
  if (instance.step > 1) {
    for (Item& item : instance.items) item.weight /= instance.step;
  }
  return instance;
}

}  // namespace ram
