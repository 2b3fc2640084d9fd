// The exact solver against complete enumeration, against itself at other budgets, and on the shapes
// of real models.
#include <algorithm>
#include <chrono>
#include <limits>

#include <gtest/gtest.h>

#include "ram/allocate.h"

#include "test_problems.h"

namespace ram {
namespace {

using testing::fraction;
using testing::least_bytes;
using testing::most_bytes;
using testing::pick;

constexpr double kRounding = 1e-12;

void enumerate(const Knapsack& problem, size_t unit, int64_t free, double loss, double& best) {
  if (unit == problem.units.size()) {
    best = std::min(best, loss);
    return;
  }
  for (const Option& option : problem.units[unit]) {
    if (option.bytes <= free) {
      enumerate(problem, unit + 1, free - option.bytes, loss + option.loss, best);
    }
  }
}

/// Least loss by trying everything; infinity if nothing fits.
double brute_force(const Knapsack& problem, int64_t budget_bytes) {
  double best = std::numeric_limits<double>::infinity();
  enumerate(problem, 0, budget_bytes, 0, best);
  return best;
}

/// What every answer must satisfy, from any solver, proven or not.
void expect_sound(const Knapsack& problem, int64_t budget_bytes, const Allocation& answer) {
  EXPECT_EQ(answer.least_bytes, least_bytes(problem));
  ASSERT_EQ(answer.feasible, budget_bytes >= answer.least_bytes);
  if (!answer.feasible) {
    EXPECT_TRUE(answer.choice.empty());
    return;
  }
  ASSERT_EQ(answer.choice.size(), problem.units.size());
  int64_t bytes = 0;
  double loss = 0;
  for (size_t u = 0; u < problem.units.size(); ++u) {
    bytes += problem.units[u].at(static_cast<size_t>(answer.choice[u])).bytes;
    loss += problem.units[u].at(static_cast<size_t>(answer.choice[u])).loss;
  }
  EXPECT_EQ(answer.bytes, bytes);
  EXPECT_LE(bytes, budget_bytes);
  EXPECT_NEAR(answer.loss, loss, kRounding * loss);
  const Option audited = audit_choice(problem, answer.choice);
  EXPECT_EQ(audited.bytes, answer.bytes);
  EXPECT_EQ(audited.loss, answer.loss);
  EXPECT_LE(answer.lower_bound, answer.loss);
}

/// No change of one unit alone lowers the loss within the budget.
void expect_filled(const Knapsack& problem, int64_t budget_bytes, const Allocation& answer) {
  const int64_t free = budget_bytes - answer.bytes;
  for (size_t u = 0; u < problem.units.size(); ++u) {
    const Option& chosen = problem.units[u][static_cast<size_t>(answer.choice[u])];
    for (const Option& other : problem.units[u]) {
      const bool fits = other.bytes - chosen.bytes <= free;
      if (fits && other.loss < chosen.loss) FAIL() << "an upgrade of unit " << u << " still fits";
    }
  }
}

int64_t budget_at(const Knapsack& problem, double share) {
  const int64_t least = least_bytes(problem);
  return least + static_cast<int64_t>(share * static_cast<double>(most_bytes(problem) - least));
}

TEST(Knapsack, equals_complete_enumeration_on_small_instances) {
  std::mt19937_64 random(1);
  int feasible = 0;
  for (int i = 0; i < 4000; ++i) {
    SCOPED_TRACE(i);
    const Knapsack problem = testing::small_problem(random);
    const int64_t budget = budget_at(problem, 1.1 * fraction(random) - 0.05);
    const Allocation answer = solve_knapsack(problem, budget);
    expect_sound(problem, budget, answer);
    const double best = brute_force(problem, budget);
    if (!answer.feasible) {
      EXPECT_EQ(best, std::numeric_limits<double>::infinity());
      continue;
    }
    ++feasible;
    EXPECT_TRUE(answer.optimal);
    EXPECT_EQ(answer.lower_bound, answer.loss);
    EXPECT_NEAR(answer.loss, best, kRounding * best);
    expect_filled(problem, budget, answer);
    if (::testing::Test::HasFailure()) return;
  }
  EXPECT_GT(feasible, 3000);
}

TEST(Knapsack, stands_between_the_linear_bound_and_the_greedy_answer) {
  std::mt19937_64 random(2);
  for (int i = 0; i < 2000; ++i) {
    SCOPED_TRACE(i);
    Knapsack problem = testing::small_problem(random);
    for (auto& unit : problem.units) {
      std::sort(unit.begin(), unit.end(),
                [](const Option& a, const Option& b) { return a.bytes < b.bytes; });
    }
    const int64_t budget = budget_at(problem, fraction(random));
    const Allocation exact = solve_knapsack(problem, budget);
    const Allocation greedy = solve_greedy_pairs(problem, budget);
    expect_sound(problem, budget, greedy);
    ASSERT_TRUE(exact.feasible && greedy.feasible);
    EXPECT_LE(knapsack_lower_bound(problem, budget), exact.loss);
    EXPECT_LE(exact.loss, greedy.loss * (1 + kRounding));
  }
}

TEST(Knapsack, a_larger_budget_never_increases_the_loss) {
  std::mt19937_64 random(3);
  for (int i = 0; i < 200; ++i) {
    const Knapsack problem = testing::small_problem(random);
    std::vector<double> shares;
    shares.reserve(20);
    for (int k = 0; k < 20; ++k) shares.push_back(fraction(random));
    std::sort(shares.begin(), shares.end());
    double before = std::numeric_limits<double>::infinity();
    for (const double share : shares) {
      const double loss = solve_knapsack(problem, budget_at(problem, share)).loss;
      EXPECT_LE(loss, before * (1 + kRounding)) << "problem " << i << " share " << share;
      before = loss;
    }
  }
}

TEST(Knapsack, answers_at_both_ends_of_the_budget) {
  Knapsack problem;
  problem.units = {{{10, 3}, {20, 1}, {20, 1}, {40, 1}}, {{5, 0}}, {{7, 2}, {7, 1}, {9, 0}}};
  EXPECT_FALSE(solve_knapsack(problem, 21).feasible);
  EXPECT_EQ(solve_knapsack(problem, 21).least_bytes, 22);
  EXPECT_EQ(solve_knapsack(problem, 22).choice, (std::vector<int>{0, 0, 1}));
  const Allocation rich = solve_knapsack(problem, std::numeric_limits<int64_t>::max());
  EXPECT_EQ(rich.choice, (std::vector<int>{1, 0, 2}));  // fewest bytes of those without loss
  EXPECT_EQ(rich.bytes, 34);
  EXPECT_TRUE(rich.optimal);
  EXPECT_TRUE(solve_knapsack(Knapsack{}, 0).optimal);
}

TEST(Knapsack, keeps_sums_right_at_terabytes_and_tiny_losses) {
  Knapsack problem;
  constexpr int64_t kTera = 1'000'000'000'000;
  problem.units = {{{10 * kTera, 1e-300}, {10 * kTera + 3, 0}},
                   {{kTera, 1e-300}, {kTera + 2, 0.5e-300}},
                   {{kTera, 1}, {kTera + 2, 0.25}, {kTera + 1, 1e-9}}};
  const Allocation answer = solve_knapsack(problem, 12 * kTera + 4);
  EXPECT_EQ(answer.choice, (std::vector<int>{1, 0, 2}));
}

TEST(Knapsack, is_exact_against_its_answer_and_not_against_where_the_search_began) {
  // The base has a loss of 1: both large units fit only just below their best options. The other
  // units then differ by losses far below one rounding of 1.
  constexpr int64_t kLarge = 1'000'000'000;
  for (size_t best = 2; best < 5; ++best) {
    Knapsack problem;
    problem.units.assign(2, {{0, 1}, {kLarge - 4, 8e-9}, {kLarge, 0}});
    problem.units.resize(5, {{0, 4e-18}, {1, 1e-18}});
    problem.units[best][1].loss = 0;
    const Allocation answer = solve_knapsack(problem, 2 * kLarge - 7);
    std::vector<int> expected{1, 1, 0, 0, 0};
    expected[best] = 1;
    EXPECT_TRUE(answer.optimal);
    EXPECT_EQ(answer.choice, expected);
  }
}

/// Real shapes at many budgets: every answer is proven, valid, filled, and no worse than at smaller
/// budgets.
void expect_exact_sweep(const Knapsack& problem, int budgets) {
  double before = std::numeric_limits<double>::infinity();
  for (int i = 0; i <= budgets; ++i) {
    const double share = static_cast<double>(i) / budgets;
    SCOPED_TRACE(share);
    const int64_t budget = budget_at(problem, share);
    const Allocation answer = solve_knapsack(problem, budget);
    expect_sound(problem, budget, answer);
    expect_filled(problem, budget, answer);
    EXPECT_TRUE(answer.optimal);
    EXPECT_GE(answer.loss, knapsack_lower_bound(problem, budget));
    EXPECT_LE(answer.loss, before * (1 + kRounding));
    before = answer.loss;
  }
}

TEST(Knapsack, proves_the_whole_sweep_of_a_grouped_model_with_equal_curves) {
  Knapsack problem;
  for (const int64_t size : testing::qwen3_30b_sizes(true)) {
    problem.units.push_back(testing::gaussian_unit(size, 1));
  }
  expect_exact_sweep(problem, 20);
}

TEST(Knapsack, proves_the_sweep_of_18_thousand_experts) {
  std::mt19937_64 random(4);
  Knapsack equal;
  Knapsack alike;
  Knapsack unlike;
  for (const int64_t size : testing::qwen3_30b_sizes(false)) {
    equal.units.push_back(testing::gaussian_unit(size, 1));
    alike.units.push_back(testing::gaussian_unit(size, 1 + 0.02 * fraction(random)));
    unlike.units.push_back(testing::gaussian_unit(size, std::exp(3 * fraction(random))));
  }
  expect_exact_sweep(equal, 3);
  expect_exact_sweep(alike, 3);
  expect_exact_sweep(unlike, 3);
}

TEST(Knapsack, tells_the_gap_when_the_time_is_up) {
  // Losses are linear in bytes: every unit gains the same per byte, so only one of astronomically
  // many subset sums fills the budget.
  std::mt19937_64 random(5);
  Knapsack problem;
  constexpr int64_t kRange = 1'000'000'000'000;
  for (int u = 0; u < 400; ++u) {
    problem.units.emplace_back();
    for (int k = 0; k < 18; ++k) {
      const int64_t bytes = pick(random, kRange);
      problem.units.back().push_back({bytes, static_cast<double>(kRange - bytes)});
    }
  }
  const int64_t budget = budget_at(problem, 0.4);
  const Allocation answer = solve_knapsack(problem, budget, 0);
  expect_sound(problem, budget, answer);
  expect_filled(problem, budget, answer);
  ASSERT_FALSE(answer.optimal);
  EXPECT_LT(answer.lower_bound, answer.loss);
  EXPECT_GE(answer.lower_bound, knapsack_lower_bound(problem, budget) * (1 - kRounding));
  EXPECT_LT(answer.loss - answer.lower_bound, 0.01 * answer.loss);
}

TEST(Knapsack, gives_the_same_answer_again) {
  std::mt19937_64 random(6);
  Knapsack problem;
  for (const int64_t size : testing::qwen3_30b_sizes(true)) {
    problem.units.push_back(testing::gaussian_unit(size, 1 + 0.1 * fraction(random)));
  }
  const int64_t budget = budget_at(problem, 0.3);
  EXPECT_EQ(solve_knapsack(problem, budget).choice, solve_knapsack(problem, budget).choice);
}

}  // namespace
}  // namespace ram
