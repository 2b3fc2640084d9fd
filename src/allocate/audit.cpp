// An independent check: adds up a choice from the problem alone, sharing no code with the solvers.
#include <cstdint>

#include "ram/allocate.h"
#include "ram/error.h"

#include "sum.h"

namespace ram {

Option audit_choice(const Knapsack& problem, std::span<const int> choice) {
  RAM_CHECK(choice.size() == problem.units.size());
  Option sum;
  CompensatedSum loss;
  for (size_t u = 0; u < choice.size(); ++u) {
    RAM_CHECK(choice[u] >= 0 && static_cast<size_t>(choice[u]) < problem.units[u].size());
    const Option& option = problem.units[u][static_cast<size_t>(choice[u])];
    sum.bytes += option.bytes;
    for (size_t c = 0; c < kOtherCosts; ++c) sum.other[c] += option.other[c];
    loss.add(option.loss);
  }
  sum.loss = loss.value();
  return sum;
}

}  // namespace ram
