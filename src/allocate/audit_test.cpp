// The audit on sums that can be verified by hand.
#include <gtest/gtest.h>

#include "ram/allocate.h"

namespace ram {
namespace {

TEST(Audit, adds_bytes_and_loss_of_the_chosen_options) {
  Knapsack problem;
  problem.units = {{{1, 0.5}, {2, 0.25}}, {{10, 4}, {20, 2}, {30, 1}}};
  const Option total = audit_choice(problem, std::vector<int>{1, 2});
  EXPECT_EQ(total.bytes, 32);
  EXPECT_EQ(total.loss, 1.25);
}

TEST(Audit, does_not_lose_small_losses_beside_large_ones) {
  Knapsack problem;
  problem.units.assign(1001, {{0, 0x1p-53}});
  problem.units.front() = {{0, 1}};
  // Plain addition would remain at 1: each term is half an ulp.
  EXPECT_EQ(audit_choice(problem, std::vector<int>(1001, 0)).loss, 1 + 1000 * 0x1p-53);
}

}  // namespace
}  // namespace ram
