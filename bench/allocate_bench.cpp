// Time and gap of the solvers on the shapes of Qwen3-30B-A3B, grouped (579 units with the
// norms) and ungrouped (18,867): one iteration is one budget of a sweep from smallest to largest.
// Counters: worst_ms of all budgets, gap (largest, relative) and unproven (budgets not closed).
#include <algorithm>
#include <chrono>
#include <cmath>
#include <random>

#include <benchmark/benchmark.h>

#include "ram/allocate.h"
#include "ram/error.h"

namespace {

using namespace ram;

struct Format {
  int bits;
  int group_size;
  double nrmse;
};

/// The full menu. @source NRMSE on Gaussian weights as published; group 128 and (8,32) interpolated
constexpr Format kMenu[] = {
    {2, 128, 0.5},     {2, 64, 0.4499},  {2, 32, 0.3930},  {3, 128, 0.2133}, {3, 64, 0.1922},
    {3, 32, 0.1678},   {4, 128, 0.0997}, {4, 64, 0.0896},  {4, 32, 0.0782},  {5, 128, 0.0483},
    {5, 64, 0.0434},   {5, 32, 0.0378},  {6, 128, 0.0237}, {6, 64, 0.0213},  {6, 32, 0.0186},
    {8, 128, 0.00586}, {8, 64, 0.00527}, {8, 32, 0.0046},  {16, 0, 0},
};

enum Curves : int64_t { kEqual, kAlike, kCoefficients };

int64_t stored_bytes(int64_t weights, const Format& format) {
  if (format.bits == 16) return 2 * weights;
  return weights * format.bits / 8 + weights / format.group_size * 4;
}

/// Equal curves, curves perturbed by 1 %, or log-normal coefficients (deviation 0.63, as measured
/// over the units of real models).
Knapsack qwen3_30b(bool grouped, int64_t curves) {
  std::mt19937_64 random(1);
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  Knapsack problem;
  const auto add = [&](int64_t weights) {
    const double coefficient = curves == kCoefficients ? std::exp(0.63 * normal(random)) : 1;
    problem.units.emplace_back();
    for (const Format& format : kMenu) {
      const double noise = curves == kAlike ? 1 + 0.01 * uniform(random) : 1;
      const double loss = coefficient * noise * format.nrmse * format.nrmse;
      problem.units.back().push_back({stored_bytes(weights, format), loss});
    }
  };
  constexpr int64_t kHidden = 2048;
  constexpr int64_t kVocabulary = 151936;
  constexpr int64_t kExpert = 768 * kHidden;
  constexpr int64_t kExperts = 128;
  for (int layer = 0; layer < 48; ++layer) {
    for (const int64_t rows : {4096, 512, 512, 4096}) add(rows * kHidden);
    add(kExperts * kHidden);
    for (int64_t i = 0; i < (grouped ? 3 : 3 * kExperts); ++i) {
      add(grouped ? kExperts * kExpert : kExpert);
    }
    for (const int64_t width : {kHidden, kHidden, int64_t{128}, int64_t{128}}) {
      problem.units.push_back({{2 * width, 0}});
    }
  }
  add(kVocabulary * kHidden);
  add(kVocabulary * kHidden);
  problem.units.push_back({{2 * kHidden, 0}});
  return problem;
}

/// Budgets spread evenly from the smallest to the largest plan, in an order that mixes them.
class Budgets {
 public:
  explicit Budgets(const Knapsack& problem) {
    for (const auto& unit : problem.units) {
      const auto [least, most] =
          std::minmax_element(unit.begin(), unit.end(),
                              [](const Option& a, const Option& b) { return a.bytes < b.bytes; });
      least_ += least->bytes;
      most_ += most->bytes;
    }
  }
  int64_t next() {
    constexpr double kGoldenRatio = 0.6180339887498949;
    share_ = std::fmod(share_ + kGoldenRatio, 1.0);
    return least_ + static_cast<int64_t>(share_ * static_cast<double>(most_ - least_));
  }

 private:
  int64_t least_ = 0;
  int64_t most_ = 0;
  double share_ = 0;
};

void check(const Knapsack& problem, int64_t budget, const Allocation& answer) {
  const Option total = audit_choice(problem, answer.choice);
  RAM_CHECK(answer.feasible && total.bytes == answer.bytes && total.loss == answer.loss);
  RAM_CHECK(answer.bytes <= budget && answer.lower_bound <= answer.loss);
}

void BM_knapsack(benchmark::State& state) {
  const Knapsack problem = qwen3_30b(state.range(0) == 1, state.range(1));
  Budgets budgets(problem);
  double worst_ms = 0;
  double gap = 0;
  int unproven = 0;
  for (auto _ : state) {
    const int64_t budget = budgets.next();
    const auto start = std::chrono::steady_clock::now();
    const Allocation answer = solve_knapsack(problem, budget);
    const std::chrono::duration<double, std::milli> took = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(took.count() / 1000);
    check(problem, budget, answer);
    worst_ms = std::max(worst_ms, took.count());
    gap = std::max(gap, (answer.loss - answer.lower_bound) / std::max(answer.loss, 1e-300));
    unproven += answer.optimal ? 0 : 1;
  }
  state.counters["units"] = static_cast<double>(problem.units.size());
  state.counters["worst_ms"] = worst_ms;
  state.counters["gap"] = gap;
  state.counters["unproven"] = unproven;
}

void BM_greedy_pairs(benchmark::State& state) {
  const Knapsack problem = qwen3_30b(state.range(0) == 1, state.range(1));
  Budgets budgets(problem);
  for (auto _ : state) {
    const int64_t budget = budgets.next();
    const auto start = std::chrono::steady_clock::now();
    const Allocation answer = solve_greedy_pairs(problem, budget);
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    state.SetIterationTime(took.count());
    check(problem, budget, answer);
  }
  state.counters["units"] = static_cast<double>(problem.units.size());
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->ArgNames({"grouped", "curves"});
  for (const int64_t grouped : {1, 0}) {
    for (const int64_t curves : {kEqual, kAlike, kCoefficients}) bench->Args({grouped, curves});
  }
  bench->UseManualTime()->Unit(benchmark::kMillisecond)->Iterations(100);
}

BENCHMARK(BM_knapsack)->Apply(shapes);
BENCHMARK(BM_greedy_pairs)
    ->Args({1, kEqual})
    ->Args({0, kEqual})
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond)
    ->Iterations(5);

}  // namespace

BENCHMARK_MAIN();
