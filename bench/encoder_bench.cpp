// Speed of the encoders in Mweights/s, on one thread and on two: search, the factor, feedback with
// and without its descent. Gaussian weights, inputs each a mixture of their neighbours.
#include <random>

#include <benchmark/benchmark.h>

#include "ram/encoder.h"
#include "ram/error.h"
#include "ram/machine.h"
#include "ram/thread.h"

namespace {

using namespace ram;

std::vector<float> normal(int64_t count, uint32_t seed) {
  std::mt19937 bits(seed);
  std::normal_distribution<float> deviate;
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = bf16_to_f32(f32_to_bf16(deviate(bits)));
  return values;
}

const SecondMoment& moment(int64_t cols) {
  static std::unique_ptr<SecondMoment> kept;
  if (!kept || kept->cols() != cols) {
    ThreadPool pool(default_threads());
    const int64_t tokens = 2 * cols;
    std::vector<float> inputs = normal(tokens * cols, 1);
    for (size_t i = 1; i < inputs.size(); ++i) inputs[i] += 0.9F * inputs[i - 1];
    kept = std::make_unique<SecondMoment>(cols);
    kept->add(inputs.data(), tokens, pool);
  }
  return *kept;
}

void report(benchmark::State& state, int64_t weights) {
  state.counters["Mweights/s"] = benchmark::Counter(
      static_cast<double>(state.iterations() * weights) * 1e-6, benchmark::Counter::kIsRate);
}

void search(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  const int64_t rows = 1024;
  const int64_t cols = 1024;
  const std::vector<float> weights = normal(rows * cols, 2);
  const std::vector<float> importance(static_cast<size_t>(cols), 1.0F);
  for (auto _ : state) {
    benchmark::DoNotOptimize(
        search_encode({weights, rows, cols, {4, 64}, DType::kBF16}, importance, pool));
  }
  report(state, rows * cols);
}

void second_moment(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  const int64_t cols = state.range(1);
  const std::vector<float> inputs = normal(2048 * cols, 1);
  SecondMoment sums(cols);
  for (auto _ : state) sums.add(inputs.data(), 2048, pool);
  state.counters["GFLOP/s"] = benchmark::Counter(
      static_cast<double>(state.iterations() * 2048 * cols) * static_cast<double>(cols) * 1e-9,
      benchmark::Counter::kIsRate);
}

/// The factor and everything else that is computed once per second moment.
void prepare(benchmark::State& state) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  const int64_t cols = state.range(1);
  const SecondMoment& inputs = moment(cols);
  for (auto _ : state) benchmark::DoNotOptimize(FeedbackEncoder(inputs, {}, pool));
  report(state, cols * cols);
}

void feedback(benchmark::State& state, const FeedbackOptions& options) {
  ThreadPool pool(static_cast<int>(state.range(0)));
  const int64_t rows = state.range(1);
  const int64_t cols = state.range(2);
  const std::vector<float> weights = normal(rows * cols, 2);
  const FeedbackEncoder encoder(moment(cols), options, pool);
  for (auto _ : state) {
    benchmark::DoNotOptimize(encoder.encode({weights, rows, cols, {4, 64}, DType::kBF16}, pool));
  }
  report(state, rows * cols);
}

/// The whole cost of a matrix: the factor and the encoding, as bench/compare_gptq.py times it.
void matrix(benchmark::State& state, const FeedbackOptions& options) {
  ThreadPool pool(2);
  const int64_t rows = state.range(0);
  const int64_t cols = state.range(1);
  const std::vector<float> weights = normal(rows * cols, 2);
  const SecondMoment& inputs = moment(cols);
  for (auto _ : state) {
    const FeedbackEncoder encoder(inputs, options, pool);
    benchmark::DoNotOptimize(encoder.encode({weights, rows, cols, {4, 64}, DType::kBF16}, pool));
  }
  report(state, rows * cols);
}

constexpr FeedbackOptions kMlxGrid = {.grid = GroupGrid::kMlx, .tries = 0, .sweeps = 0};
constexpr FeedbackOptions kSearched = {.tries = 0, .sweeps = 0};
constexpr FeedbackOptions kFull = {};

void threads_and_cols(benchmark::internal::Benchmark* bench) {
  bench->Args({1, 2048})->Args({2, 2048})->Args({2, 4096});
  bench->UseRealTime()->Unit(benchmark::kMillisecond);
}

void shapes(benchmark::internal::Benchmark* bench) {
  bench->Args({1, 2048, 768})->Args({2, 2048, 768})->Args({2, 1024, 4096});
  bench->UseRealTime()->Unit(benchmark::kMillisecond);
}

void whole_shapes(benchmark::internal::Benchmark* bench) {
  bench->Args({2048, 768})->Args({4096, 4096});
  bench->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK(search)->Arg(1)->Arg(2)->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(second_moment)->Args({1, 2048})->Args({2, 2048})->UseRealTime();
BENCHMARK(prepare)->Apply(threads_and_cols);
BENCHMARK_CAPTURE(feedback, mlx_grid, kMlxGrid)->Apply(shapes);
BENCHMARK_CAPTURE(feedback, searched, kSearched)->Apply(shapes);
BENCHMARK_CAPTURE(feedback, full, kFull)->Apply(shapes);
BENCHMARK_CAPTURE(matrix, mlx_grid, kMlxGrid)->Apply(whole_shapes);
BENCHMARK_CAPTURE(matrix, searched, kSearched)->Apply(whole_shapes);
BENCHMARK_CAPTURE(matrix, full, kFull)->Apply(whole_shapes);

}  // namespace

BENCHMARK_MAIN();
