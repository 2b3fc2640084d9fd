// Speed of the quantizer compared with the machine's read bandwidth: Gweights/s and GB/s of source
// bytes, one thread unless a name says "two". The bf16 source is 1 Mi weights (hot) or 256 Mi
// weights (from memory).
#include <algorithm>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>

#include "ram/error.h"
#include "ram/quant.h"

namespace {

using namespace ram;

constexpr int64_t kCols = 2048;
constexpr int64_t kHotWeights = int64_t{1} << 20;
constexpr int64_t kColdWeights = int64_t{1} << 28;

/// Gaussian weights, 0.02 wide, seeded: a million of them, repeated.
const std::vector<std::byte>& weights_bf16(int64_t count) {
  static std::vector<std::byte> weights;
  if (weights.empty()) {
    std::mt19937 bits(1);
    std::normal_distribution<float> normal(0, 0.02F);
    std::vector<float> values(static_cast<size_t>(kHotWeights));
    for (float& value : values) value = normal(bits);
    weights.resize(values.size() * 2);
    from_f32(values.data(), DType::kBF16, kHotWeights, weights.data());
  }
  const auto bytes = static_cast<size_t>(count) * 2;
  while (weights.size() < bytes) {
    const size_t known = weights.size();
    weights.resize(known * 2);
    std::memcpy(weights.data() + known, weights.data(), known);
  }
  return weights;
}

void report(benchmark::State& state, int64_t weights, int64_t bytes) {
  const auto done = static_cast<double>(state.iterations());
  state.counters["Gweights/s"] =
      benchmark::Counter(done * static_cast<double>(weights) * 1e-9, benchmark::Counter::kIsRate);
  state.counters["GB/s"] =
      benchmark::Counter(done * static_cast<double>(bytes) * 1e-9, benchmark::Counter::kIsRate);
}

Distortion measure(const std::byte* weights, int64_t count, Encoder encoder) {
  return measure_distortion(weights, DType::kBF16, count / kCols, kCols, formats_for_cols(kCols),
                            DType::kBF16, encoder);
}

void distortion(benchmark::State& state, int64_t count, Encoder encoder) {
  const std::byte* weights = weights_bf16(count).data();
  const Distortion found = measure(weights, kHotWeights, encoder);
  RAM_CHECK(nrmse(found.squared_error[7], found.sum_squares, kHotWeights) < 0.1);
  for (auto _ : state) benchmark::DoNotOptimize(measure(weights, count, encoder));
  report(state, count, 2 * count);
}

/// Each thread takes half: what analyze does with two cores.
void distortion_two(benchmark::State& state, int64_t count) {
  const std::byte* weights = weights_bf16(count).data();
  const int64_t half = count / 2;
  for (auto _ : state) {
    std::thread other([&] { benchmark::DoNotOptimize(measure(weights, half, Encoder::kMlx)); });
    benchmark::DoNotOptimize(measure(weights + half * 2, half, Encoder::kMlx));
    other.join();
  }
  report(state, count, 2 * count);
}

void encode(benchmark::State& state, AffineFormat format) {
  const std::byte* weights = weights_bf16(kHotWeights).data();
  std::vector<uint32_t> codes(static_cast<size_t>(kHotWeights * format.bits / 32));
  std::vector<std::byte> scales(static_cast<size_t>(kHotWeights / format.group_size * 2));
  std::vector<std::byte> biases(scales.size());
  for (auto _ : state) {
    affine_encode(weights, DType::kBF16, kHotWeights / kCols, kCols, format, DType::kBF16,
                  codes.data(), scales.data(), biases.data());
    benchmark::ClobberMemory();
  }
  report(state, kHotWeights, 2 * kHotWeights);
}

void decode(benchmark::State& state, AffineFormat format) {
  const std::byte* weights = weights_bf16(kHotWeights).data();
  std::vector<uint32_t> codes(static_cast<size_t>(kHotWeights * format.bits / 32));
  std::vector<std::byte> scales(static_cast<size_t>(kHotWeights / format.group_size * 2));
  std::vector<std::byte> biases(scales.size());
  std::vector<float> out(static_cast<size_t>(kHotWeights));
  affine_encode(weights, DType::kBF16, kHotWeights / kCols, kCols, format, DType::kBF16,
                codes.data(), scales.data(), biases.data());
  for (auto _ : state) {
    affine_decode(codes.data(), scales.data(), biases.data(), DType::kBF16, kHotWeights / kCols,
                  kCols, format, out.data());
    benchmark::ClobberMemory();
  }
  report(state, kHotWeights, encoded_bytes(1, kHotWeights, format, DType::kBF16));
}

void find(benchmark::State& state, int64_t count) {
  const std::byte* weights = weights_bf16(count).data();
  for (auto _ : state) {
    RAM_CHECK(find_non_finite(weights, DType::kBF16, count, DType::kBF16) == -1);
  }
  report(state, count, 2 * count);
}

/// The machine's read bandwidth, measured by summing all words.
void read(benchmark::State& state, int64_t count, bool two) {
  const auto* words = reinterpret_cast<const uint64_t*>(weights_bf16(count).data());
  const int64_t half = count / 8;  // words
  const auto sum = [](const uint64_t* from, int64_t n) {
    uint64_t sums[16] = {};
    for (int64_t i = 0; i + 16 <= n; i += 16) {
      for (int64_t k = 0; k < 16; ++k) sums[k] += from[i + k];
    }
    uint64_t total = 0;
    for (const uint64_t part : sums) total += part;
    return total;
  };
  for (auto _ : state) {
    if (two) {
      std::thread other([&] { benchmark::DoNotOptimize(sum(words, half)); });
      benchmark::DoNotOptimize(sum(words + half, half));
      other.join();
    } else {
      benchmark::DoNotOptimize(sum(words, 2 * half));
    }
  }
  report(state, count, 2 * count);
}

void register_all() {
  const auto add = [](const std::string& name, auto run, auto... arguments) {
    auto* added = benchmark::RegisterBenchmark(name.c_str(), run, arguments...);
    added->Unit(benchmark::kMillisecond);
    if (name.ends_with("two")) added->UseRealTime();
  };
  add("distortion/hot", distortion, kHotWeights, Encoder::kMlx);
  add("distortion/hot/reference", distortion, kHotWeights, Encoder::kSimulated);
  add("distortion/hot/two", distortion_two, 4 * kHotWeights);
  for (const AffineFormat format : {AffineFormat{2, 128}, {3, 64}, {4, 64}, {5, 32}, {8, 64}}) {
    add("encode/hot/" + format_name(format), encode, format);
    add("decode/hot/" + format_name(format), decode, format);
  }
  add("find_non_finite/hot", find, kHotWeights);
  add("read/hot", read, kHotWeights, false);
  add("distortion/memory", distortion, kColdWeights, Encoder::kMlx);
  add("distortion/memory/two", distortion_two, kColdWeights);
  add("find_non_finite/memory", find, kColdWeights);
  add("read/memory", read, kColdWeights, false);
  add("read/memory/two", read, kColdWeights, true);
}

}  // namespace

int main(int argc, char** argv) {
  register_all();
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
