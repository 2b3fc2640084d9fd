// What calibration costs in forward passes of the same rows, each pair in one run: coefficients
// from gradients, and writing own text.
//
//   RAM_BENCH_MODEL=FOLDER build/release/bench/ram_calibrate_bench [--benchmark_filter=...]
//
// FOLDER is a source folder; compare_backward.py calls this.
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <numeric>
#include <string>
#include <vector>

#include <benchmark/benchmark.h>

#include "ram/calibrate.h"
#include "ram/machine.h"
#include "ram/random.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kLength = 256;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

LanguageModel named_model() {
  return {Checkpoint::open(std::getenv("RAM_BENCH_MODEL")),
          {.threads = default_threads(), .memory_bytes = int64_t{12} << 30}};
}

std::vector<TokenRow> random_rows(const LanguageModel& model, int64_t count) {
  SplitMix64 random(1);
  std::vector<TokenRow> rows(static_cast<size_t>(count));
  const auto vocabulary = static_cast<double>(model.checkpoint().config.vocab);
  for (TokenRow& row : rows) {
    for (int64_t i = 0; i < kLength; ++i) {
      row.push_back(static_cast<int32_t>(random.uniform() * vocabulary));
    }
  }
  return rows;
}

double forward(LanguageModel& model, std::span<const TokenRow> rows) {
  const auto start = Clock::now();
  HiddenRows hidden = model.embed(rows);
  model.run_layers(hidden, 0, model.layers());
  const LogitSource source{.model = &model, .hidden = &hidden};
  visit_logits({&source, 1}, [](const LogitPiece&, int) {});
  return seconds_since(start);
}

/// Coefficients of all units on 8 rows, beside a forward pass of these rows, in turns.
void gradients(benchmark::State& state) {
  LanguageModel model = named_model();
  const CalibrationText text{.spec = "own bench", .digest = "bench", .rows = random_rows(model, 8)};
  std::vector<int> units;
  for (size_t u = 0; u < model.checkpoint().units.size(); ++u) {
    if (model.checkpoint().units[u].quantizable) units.push_back(static_cast<int>(u));
  }
  forward(model, text.rows);  // loads the weights
  double passes = 0;
  double back = 0;
  int rounds = 0;
  for (auto _ : state) {
    const testing::TempFolder folder;
    Study study(folder / "ram.db");
    const double pass = forward(model, text.rows);
    const auto start = Clock::now();
    gradient_coefficients(model, "bench", units, text, {}, study);
    const double seconds = seconds_since(start);
    passes += seconds / std::min(pass, forward(model, text.rows));
    back += seconds;
    ++rounds;
  }
  state.counters["passes"] = passes / rounds;
  state.counters["tokens/s"] = static_cast<double>(8 * kLength * rounds) / back;
}

/// 64 rows written in step, beside the faster of two forward passes of the same rows.
void own_text(benchmark::State& state) {
  constexpr int64_t kRows = 64;
  LanguageModel model = named_model();
  const Tokenizer tokenizer = Tokenizer::open(model.checkpoint().folder);
  double share = 0;
  double written = 0;
  int rounds = 0;
  for (auto _ : state) {
    const testing::TempFolder folder;
    Study study(folder / "ram.db");
    const auto start = Clock::now();
    const CalibrationText text =
        ram::own_text(model, tokenizer, "bench",
                      {.rows = kRows, .length = kLength, .rows_at_once = kRows}, study);
    const double seconds = seconds_since(start);
    const double once = forward(model, text.rows);
    share += std::min(once, forward(model, text.rows)) / seconds;
    written += seconds;
    ++rounds;
  }
  state.counters["share"] = share / rounds;
  state.counters["tokens/s"] = static_cast<double>(kRows * kLength * rounds) / written;
}

BENCHMARK(gradients)->Unit(benchmark::kSecond)->Iterations(3)->UseRealTime();
BENCHMARK(own_text)->Unit(benchmark::kSecond)->Iterations(1)->UseRealTime();

}  // namespace
}  // namespace ram

BENCHMARK_MAIN();
