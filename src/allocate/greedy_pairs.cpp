// The published baseline as described: all pairs of options as upgrades, sorted once, visited in
// one pass, never revisited.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <limits>

#include "ram/allocate.h"
#include "ram/error.h"
#include "ram/size.h"

namespace ram {
namespace {

struct Upgrade {
  double efficiency = 0;
  uint32_t unit = 0;
  uint16_t from = 0;
  uint16_t to = 0;
};

/// Best first; upgrades of equal efficiency in the order of creation, as in a stable sort.
bool before(const Upgrade& a, const Upgrade& b) {
  if (a.efficiency != b.efficiency) return a.efficiency > b.efficiency;
  if (a.unit != b.unit) return a.unit < b.unit;
  if (a.from != b.from) return a.from < b.from;
  return a.to < b.to;
}

/// Loss per byte to 41 significant bits. Priors and sizes that are small multiples of each other
/// make exact ties, which the order of the units must decide, not the last bits of a product.
double efficiency(double loss, int64_t bytes) {
  if (bytes <= 0) return std::numeric_limits<double>::infinity();
  constexpr int kDropped = 12;
  const auto bits = std::bit_cast<uint64_t>(loss / static_cast<double>(bytes));
  const uint64_t rounded = (bits + (uint64_t{1} << (kDropped - 1))) >> kDropped << kDropped;
  return std::bit_cast<double>(rounded);
}

void append_upgrades(const std::vector<Option>& options, uint32_t unit,
                     std::vector<Upgrade>& upgrades) {
  for (size_t from = 0; from < options.size(); ++from) {
    for (size_t to = from + 1; to < options.size(); ++to) {
      const double loss = options[from].loss - options[to].loss;
      if (!(loss > 0)) continue;
      const int64_t bytes = options[to].bytes - options[from].bytes;
      upgrades.push_back(
          {efficiency(loss, bytes), unit, static_cast<uint16_t>(from), static_cast<uint16_t>(to)});
    }
  }
}

}  // namespace

Allocation solve_greedy_pairs(const Knapsack& problem, int64_t budget_bytes) {
  Allocation answer;
  int64_t bytes = 0;
  std::vector<Upgrade> upgrades;
  for (size_t u = 0; u < problem.units.size(); ++u) {
    const std::vector<Option>& options = problem.units[u];
    RAM_CHECK(!options.empty() && options.size() <= std::numeric_limits<uint16_t>::max());
    int64_t least = options.front().bytes;
    for (const Option& option : options) least = std::min(least, option.bytes);
    answer.least_bytes += least;
    const auto sum = checked_add(bytes, options.front().bytes);
    RAM_CHECK(sum.has_value());
    bytes = *sum;
    append_upgrades(options, static_cast<uint32_t>(u), upgrades);
  }
  answer.lower_bound = knapsack_lower_bound(problem, budget_bytes);
  if (bytes > budget_bytes) return answer;
  std::sort(upgrades.begin(), upgrades.end(), before);
  answer.choice.assign(problem.units.size(), 0);
  for (const Upgrade& upgrade : upgrades) {
    int& choice = answer.choice[upgrade.unit];
    if (choice != upgrade.from) continue;
    const std::vector<Option>& options = problem.units[upgrade.unit];
    const int64_t after = bytes - options[upgrade.from].bytes + options[upgrade.to].bytes;
    if (after > budget_bytes) continue;
    choice = upgrade.to;
    bytes = after;
  }
  const Option total = audit_choice(problem, answer.choice);
  answer.bytes = total.bytes;
  answer.loss = total.loss;
  answer.feasible = true;
  return answer;
}

}  // namespace ram
