// The linear relaxation against the textbook greedy over sorted hull edges.
#include "relaxation.h"

#include <algorithm>

#include <gtest/gtest.h>

#include "instance.h"
#include "test_problems.h"

namespace ram {
namespace {

/// Value of the relaxation by O(n^2) hulls and a full sort.
double slow_relaxation(const Knapsack& problem, int64_t budget_bytes) {
  struct Edge {
    double slope;
    int64_t bytes;
  };
  std::vector<Edge> edges;
  double loss = 0;
  int64_t free = budget_bytes;
  for (const auto& unit : problem.units) {
    const auto* at = &unit.front();
    for (const Option& option : unit) {
      if (std::pair(option.bytes, option.loss) < std::pair(at->bytes, at->loss)) at = &option;
    }
    loss += at->loss;
    free -= at->bytes;
    for (;;) {
      const Option* next = nullptr;
      double steepest = 0;
      for (const Option& option : unit) {
        if (option.bytes <= at->bytes || option.loss >= at->loss) continue;
        const double slope =
            (at->loss - option.loss) / static_cast<double>(option.bytes - at->bytes);
        if (slope > steepest) {
          steepest = slope;
          next = &option;
        }
      }
      if (next == nullptr) break;
      edges.push_back({steepest, next->bytes - at->bytes});
      at = next;
    }
  }
  std::sort(edges.begin(), edges.end(),
            [](const Edge& a, const Edge& b) { return a.slope > b.slope; });
  for (const Edge& edge : edges) {
    const int64_t taken = std::min(free, edge.bytes);
    loss -= edge.slope * static_cast<double>(taken);
    free -= taken;
  }
  return loss;
}

TEST(Relaxation, equals_the_greedy_over_sorted_hull_edges) {
  std::mt19937_64 random(8);
  for (int i = 0; i < 3000; ++i) {
    const Knapsack problem = testing::small_problem(random);
    const Instance instance = make_instance(problem);
    const int64_t least = testing::least_bytes(problem);
    // A budget of whole steps: the bound may use the fact that bytes are multiples of a step; the
    // slow one does not.
    const int64_t range = (testing::most_bytes(problem) - least) / instance.step;
    const int64_t steps = testing::pick(random, range + 2);
    const int64_t budget = least + steps * instance.step;
    const double slow = slow_relaxation(problem, budget);
    const double fast = knapsack_lower_bound(problem, budget);
    double magnitude = 0;
    for (const auto& unit : problem.units) {
      for (const Option& option : unit) magnitude += option.loss;
    }
    EXPECT_NEAR(fast, slow, 1e-11 * magnitude) << i;
  }
}

TEST(Relaxation, base_fits_and_no_item_is_cheaper_at_its_price) {
  std::mt19937_64 random(9);
  for (int i = 0; i < 1000; ++i) {
    const Instance instance = make_instance(testing::small_problem(random));
    int64_t most = 0;
    for (size_t u = 0; u < instance.units(); ++u) most += instance.unit(u).back().weight;
    const int64_t capacity = testing::pick(random, most + 1);
    const Relaxation relaxed = relax(instance, capacity);
    int64_t weight = 0;
    for (size_t u = 0; u < instance.units(); ++u) {
      const Item& base = instance.items[relaxed.base[u]];
      weight += base.weight;
      for (const Item& item : instance.unit(u)) {
        EXPECT_GE(reduced_cost(base, item, relaxed.price), -1e-15 * (base.loss + item.loss));
      }
    }
    EXPECT_EQ(weight + relaxed.residual, capacity);
    EXPECT_GE(relaxed.residual, 0);
  }
}

TEST(Relaxation, is_infinite_when_nothing_fits) {
  Knapsack problem;
  problem.units = {{{10, 1}}};
  EXPECT_EQ(knapsack_lower_bound(problem, 9), HUGE_VAL);
  EXPECT_EQ(knapsack_lower_bound(problem, 10), 1);
}

TEST(ReducedCost, keeps_what_is_left_when_loss_and_price_cancel) {
  const Item light{0, 1.0, 0};
  const Item heavy{3, 0x1p-60, 1};
  // 1 - 2^-60 is not a double; at price 1/3 the exact cost is 2^-60 + 3 * fl(1/3) - 1.
  const double cost = reduced_cost(light, heavy, 1.0 / 3.0);
  EXPECT_DOUBLE_EQ(cost, 0x1p-60 - 0x1p-54);
}

TEST(Instance, drops_dominated_options_and_the_common_divisor) {
  Knapsack problem;
  problem.units = {{{100, 5}, {160, 5}, {130, 4}, {130, 3}, {190, 0}, {190, 0}}, {{70, 1}}};
  const Instance instance = make_instance(problem);
  ASSERT_EQ(instance.unit(0).size(), 3u);
  EXPECT_EQ(instance.step, 30);
  EXPECT_EQ(instance.least_bytes, 170);
  EXPECT_EQ(instance.unit(0)[1].weight, 1);
  EXPECT_EQ(instance.unit(0)[1].option, 3);
  EXPECT_EQ(instance.unit(0)[2].weight, 3);
  EXPECT_EQ(instance.unit(0)[2].option, 4);
  EXPECT_EQ(instance.capacity(229), 1);
}

}  // namespace
}  // namespace ram
