// The engine's products compared with oneDNN's own matmul for the same shapes and number of
// threads, and decoding compared with the machine's read bandwidth, each pair in one run.
//
//   build/release/bench/ram_engine_bench [--benchmark_filter=...]
//
// With a model folder in RAM_BENCH_MODEL also that model's prefill and decoding (what
// compare_engines.py calls), in RAM_BENCH_PRECISION (f32 or bf16).
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <numeric>
#include <thread>
#include <vector>

#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <oneapi/dnnl/dnnl.hpp>

#include "ram/engine.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/machine.h"
#include "ram/thread.h"

#include "cpu/buffer.h"
#include "cpu/cpu_backend.h"
#include "cpu/kernels.h"
#include "cpu/matvec.h"
#include "support/mlx_model.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kTokens = 2048;
constexpr std::chrono::milliseconds kPause{20};

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// oneDNN's matmul as it is meant to be used: weights in its own layout, all threads for itself.
class OneDnn {
 public:
  OneDnn(int64_t m, int64_t n, int64_t k, dnnl::memory::data_type type)
      : engine_({}, 0), stream_(engine_) {
    using Desc = dnnl::memory::desc;
    using Tag = dnnl::memory::format_tag;
    set_threads(default_threads());
    const Desc x({m, k}, type, Tag::ab);
    const Desc w({k, n}, type, Tag::any);
    const Desc y({m, n}, dnnl::memory::data_type::f32, Tag::ab);
#if DNNL_VERSION_MAJOR >= 3
    const dnnl::matmul::primitive_desc desc(engine_, x, w, y);
#else
    const dnnl::matmul::primitive_desc desc({x, w, y}, engine_);
#endif
    matmul_ = dnnl::matmul(desc);
    x_ = dnnl::memory(x, engine_);
    w_ = dnnl::memory(desc.weights_desc(), engine_);
    y_ = dnnl::memory(y, engine_);
    std::memset(x_.get_data_handle(), 0, x.get_size());
    std::memset(w_.get_data_handle(), 0, desc.weights_desc().get_size());
  }

  double run() {
    set_threads(default_threads());
    const auto start = Clock::now();
    matmul_.execute(stream_, {{DNNL_ARG_SRC, x_}, {DNNL_ARG_WEIGHTS, w_}, {DNNL_ARG_DST, y_}});
    stream_.wait();
    const double seconds = seconds_since(start);
    set_threads(1);  // the engine's setting for this thread
    // Its threads spin for some milliseconds before they sleep, and would take that time from ours.
    std::this_thread::sleep_for(kPause);
    return seconds;
  }

 private:
  static void set_threads(int threads) {
    static const auto set =
        reinterpret_cast<void (*)(int)>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
    if (set != nullptr) set(threads);
  }

  struct CpuEngine : dnnl::engine {
    CpuEngine(std::initializer_list<int>, size_t index) : engine(kind::cpu, index) {}
  };
  CpuEngine engine_;
  dnnl::stream stream_;
  dnnl::matmul matmul_;
  dnnl::memory x_, w_, y_;
};

double median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + std::ssize(values) / 2, values.end());
  return values[values.size() / 2];
}

Matrix random_matrix(int64_t rows, int64_t cols) {
  Matrix x(rows, cols);
  const auto values = testing::random_values(1, "x", rows * cols, 0, 1);
  std::copy(values.begin(), values.end(), x.data());
  return x;
}

/// The backend of a one-layer model with these widths; each model is written once.
struct OneLayer {
  explicit OneLayer(const testing::TinyModel& spec, Precision precision = Precision::kF32)
      : options{.precision = precision,
                .threads = default_threads(),
                .memory_bytes = int64_t{16} << 30},
        threads(options.threads),
        checkpoint([&] {
          testing::write_tiny_model(folder.path(), spec);
          return Checkpoint::open(folder.path().string(), Quantized::kAccept);
        }()),
        backend({.checkpoint = checkpoint, .options = options, .threads = threads}) {}
  int unit(std::string_view name) const {
    const auto& units = checkpoint.units;
    const auto at = std::find_if(units.begin(), units.end(),
                                 [&](const Unit& u) { return u.name.ends_with(name); });
    RAM_CHECK(at != units.end());
    return static_cast<int>(at - units.begin());
  }
  testing::TempFolder folder;
  EngineOptions options;
  ThreadPool threads;
  Checkpoint checkpoint;
  CpuBackend backend;
};

void report(benchmark::State& state, double flops, const std::vector<double>& ours,
            const std::vector<double>& theirs) {
  std::vector<double> ratios;
  for (size_t i = 0; i < ours.size(); ++i) ratios.push_back(theirs[i] / ours[i]);
  state.counters["GFLOP/s"] = flops / median(ours) / 1e9;
  state.counters["oneDNN_GFLOP/s"] = flops / median(theirs) / 1e9;
  state.counters["ratio"] = median(ratios);
}

/// A dense linear [n, k] on two rows of 2048 tokens, one to a thread.
void dense(benchmark::State& state, int64_t n, int64_t k, Precision precision) {
  testing::TinyModel spec;
  spec.hidden = k;
  spec.heads = k / 64;
  spec.kv_heads = 1;
  spec.layers = 1;
  spec.intermediate = n;
  OneLayer layer(spec, precision);
  const int unit = layer.unit("mlp.gate_proj");
  const WeightSlice slice{.unit = unit};
  layer.backend.acquire({&slice, 1}, {.fewest = kTokens, .most = kTokens});
  const Tensor input = layer.backend.upload(random_matrix(kTokens, k));
  const int rows = layer.threads.threads();
  const bool bf16 = Products(precision).wants_bf16();
  OneDnn theirs(kTokens, n, k, bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32);
  std::vector<double> ours;
  std::vector<double> other;
  const auto run = [&] {
    const auto start = Clock::now();
    layer.threads.run(rows, [&](int64_t, int) { layer.backend.linear(input, unit); });
    return seconds_since(start) / rows;
  };
  run();
  theirs.run();
  for (auto _ : state) {
    ours.push_back(run());
    other.push_back(theirs.run());
  }
  report(state, 2.0 * static_cast<double>(kTokens * n * k), ours, other);
}

/// Experts [n, k] whose tokens were sorted, `tokens` for each, compared with oneDNN on that many
/// rows.
void experts(benchmark::State& state, int64_t n, int64_t k, int64_t tokens) {
  constexpr int64_t kExperts = 16;
  testing::TinyModel spec;
  spec.model_type = "qwen3_moe";
  spec.hidden = k;
  spec.heads = k / 64;
  spec.kv_heads = 1;
  spec.layers = 1;
  spec.experts = kExperts;
  spec.expert_width = n;
  OneLayer layer(spec);
  const int unit = layer.unit("switch_mlp.gate_proj");
  const WeightSlice slice{.unit = unit, .first_part = 0, .last_part = kExperts};
  layer.backend.acquire({&slice, 1}, {.fewest = kTokens, .most = kTokens});
  auto order = std::make_shared<CpuRouting>();
  for (int64_t e = 0; e < kExperts; ++e) {
    order->segments.push_back({.begin = order->gathered_rows, .count = tokens});
    order->gathered_rows += padded_rows(tokens);
  }
  order->token.assign(static_cast<size_t>(order->gathered_rows), 0);
  const Routing routing{.tokens = kTokens, .storage = order};
  const Tensor input = layer.backend.upload(random_matrix(order->gathered_rows, k));
  OneDnn theirs(tokens, n, k, dnnl::memory::data_type::f32);
  std::vector<double> ours;
  std::vector<double> other;
  const int rows = layer.threads.threads();
  const auto run = [&] {
    const auto start = Clock::now();
    layer.threads.run(rows, [&](int64_t, int) {
      layer.backend.grouped_linear(input, unit, routing, {.first = 0, .last = kExperts});
    });
    return seconds_since(start) / rows / kExperts;
  };
  run();
  theirs.run();
  for (auto _ : state) {
    ours.push_back(run());
    double sum = 0;
    for (int64_t e = 0; e < kExperts; ++e) sum += theirs.run();
    other.push_back(sum / kExperts);
  }
  report(state, 2.0 * static_cast<double>(tokens * n * k), ours, other);
}

/// Memory allocated as in the engine, every byte written.
std::shared_ptr<std::byte> filled(int64_t bytes, std::byte value) {
  static const auto buffers = std::make_shared<BufferPool>();
  auto memory = buffers->take(bytes);
  std::fill_n(memory.get(), bytes + kSlackBytes, value);
  return memory;
}

/// Reads `bytes` on all threads as fast as possible.
double read_seconds(ThreadPool& threads, const std::shared_ptr<std::byte>& from, int64_t bytes) {
  const auto* memory = reinterpret_cast<const float*>(from.get());
  const int64_t pieces = 64;
  const int64_t step = bytes / 4 / pieces;
  std::vector<float> sums(static_cast<size_t>(pieces));
  const auto start = Clock::now();
  threads.run(pieces, [&](int64_t i, int) {
    // The product with itself needs one stream through the caches.
    const float* piece = memory + i * step;
    dot_rows(piece, piece, step, 1, step, &sums[static_cast<size_t>(i)]);
  });
  const double seconds = seconds_since(start);
  benchmark::DoNotOptimize(sums.data());
  return seconds;
}

/// Processor seconds of this thread, so that other work on the machine does not count.
double thread_seconds() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

/// One vector times a stored matrix (bits 0: bf16) on one thread, by processor time: `hot` with
/// rows that fit in cache, else from memory and compared with the thread's read bandwidth.
void matvec(benchmark::State& state, int bits, int group_size, bool hot) {
  constexpr int64_t kCols = 4096;
  const int64_t rows = hot ? 64 : 1 << 15;
  StoredMatrix matrix{.format = {}, .dtype = DType::kBF16, .rows = rows, .cols = kCols};
  if (bits > 0) matrix.format = {.bits = bits, .group_size = group_size};
  const int64_t weight_bytes = rows * kCols * (bits > 0 ? bits : 16) / 8;
  const int64_t scale_bytes = bits > 0 ? rows * kCols / group_size * 2 : 0;
  // Small finite numbers in every format.
  const auto weights = filled(weight_bytes, std::byte{0x35});
  const auto scales = filled(scale_bytes, std::byte{0x35});
  const auto biases = filled(scale_bytes, std::byte{0x35});
  matrix.weights = weights.get();
  matrix.scales = scales.get();
  matrix.biases = biases.get();
  Matrix input = random_matrix(1, kCols);
  Matrix x(1, bits > 0 ? arranged_floats(*matrix.format, kCols) : kCols);
  std::copy(input.data(), input.data() + kCols, x.data());
  if (bits > 0) arrange_input(*matrix.format, kCols, input.data(), x.data());
  std::vector<float> y(static_cast<size_t>(rows));
  const int64_t bytes = weight_bytes + 2 * scale_bytes;
  if (hot) {
    for (auto _ : state) stored_matvec(matrix, x.data(), 0, rows, y.data());
    const auto per_second = benchmark::Counter::kIsIterationInvariantRate;
    state.counters["GB/s"] = benchmark::Counter(static_cast<double>(bytes) / 1e9, per_second);
    state.counters["Gweights/s"] =
        benchmark::Counter(static_cast<double>(rows * kCols) / 1e9, per_second);
    return;
  }
  constexpr int64_t kStep = 64;
  ThreadPool threads(1);
  const auto memory = filled(bytes, std::byte{0x35});
  std::vector<double> ours;
  std::vector<double> shares;
  for (auto _ : state) {
    double start = thread_seconds();
    for (int64_t i = 0; i < rows; i += kStep) {
      stored_matvec(matrix, x.data(), i, kStep, y.data() + i);
    }
    ours.push_back(thread_seconds() - start);
    start = thread_seconds();
    read_seconds(threads, memory, bytes);
    shares.push_back((thread_seconds() - start) / ours.back());
  }
  state.counters["GB/s"] = static_cast<double>(bytes) / median(ours) / 1e9;
  state.counters["share"] = median(shares);
}

/// One token at a time through matrices larger than any cache, in a format (bits 0: bf16).
void decode(benchmark::State& state, int bits, int group_size) {
  testing::TinyModel spec;
  spec.model_type = "qwen3";
  spec.hidden = 2048;
  spec.heads = 16;
  spec.kv_heads = 4;
  spec.layers = 4;
  spec.intermediate = 8192;
  spec.vocab = 4096;
  testing::TempFolder folder;
  if (bits == 0) {
    testing::write_tiny_model(folder.path(), spec);
  } else {
    const AffineFormat format{.bits = bits, .group_size = group_size};
    nlohmann::json config = testing::tiny_model_config(spec);
    config["quantization"] = testing::format_json(format);
    testing::write_mlx_model(
        folder.path(), config,
        testing::mlx_tensors(spec, [&](const std::string&) { return format; }));
  }
  LanguageModel model(Checkpoint::open(folder.path().string(), Quantized::kAccept),
                      {.threads = default_threads(), .memory_bytes = int64_t{16} << 30});
  int64_t bytes = 0;
  for (const Unit& unit : model.checkpoint().units) {
    if (unit.shape.size() < 2 || unit.role == Role::kEmbedding) continue;
    const double bpw = bits == 0 ? 16 : bits + 32.0 / group_size;
    bytes += static_cast<int64_t>(static_cast<double>(unit.weights()) * bpw / 8);
  }
  Decoder decoder(model, 4096);
  const std::vector<int32_t> prompt(64, 1);
  decoder.feed(prompt);
  const std::vector<int32_t> one = {2};
  decoder.feed(one);
  const auto memory = filled(bytes, std::byte{0x35});
  ThreadPool threads(default_threads());
  std::vector<double> ours;
  std::vector<double> reads;
  for (auto _ : state) {
    auto start = Clock::now();
    decoder.feed(one);
    ours.push_back(seconds_since(start));
    reads.push_back(read_seconds(threads, memory, bytes));
  }
  std::vector<double> shares;
  for (size_t i = 0; i < ours.size(); ++i) shares.push_back(reads[i] / ours[i]);
  state.counters["GB/s"] = static_cast<double>(bytes) / median(ours) / 1e9;
  state.counters["read_GB/s"] = static_cast<double>(bytes) / median(reads) / 1e9;
  state.counters["share"] = median(shares);
  state.counters["tokens/s"] = 1 / median(ours);
}

/// The model of the folder RAM_BENCH_MODEL, for compare_engines.py.
LanguageModel named_model() {
  const char* precision = std::getenv("RAM_BENCH_PRECISION");
  const bool bf16 = precision != nullptr && std::string_view(precision) == "bf16";
  return {Checkpoint::open(std::getenv("RAM_BENCH_MODEL"), Quantized::kAccept),
          {.precision = bf16 ? Precision::kBF16 : Precision::kF32,
           .threads = default_threads(),
           .memory_bytes = int64_t{16} << 30}};
}

void forward(LanguageModel& model, std::span<const TokenRow> rows) {
  HiddenRows hidden = model.embed(rows);
  model.run_layers(hidden, 0, model.layers());
  const LogitSource source{.model = &model, .hidden = &hidden};
  visit_logits({&source, 1}, [](const LogitPiece&, int) {});
}

/// Two rows of kTokens through all layers and the head.
void model_prefill(benchmark::State& state) {
  LanguageModel model = named_model();
  std::vector<TokenRow> rows(2);
  for (TokenRow& row : rows) {
    for (int64_t i = 0; i < kTokens; ++i) row.push_back(static_cast<int32_t>(2 + i % 4000));
  }
  forward(model,
          rows);  // packs the weights and fills the pool, like the first round of the other engines
  std::vector<double> seconds;
  for (auto _ : state) {
    const auto start = Clock::now();
    forward(model, rows);
    seconds.push_back(seconds_since(start));
  }
  state.counters["tokens/s"] = static_cast<double>(2 * kTokens) / median(seconds);
}

/// One token at a time, after 64.
void model_decode(benchmark::State& state) {
  LanguageModel model = named_model();
  Decoder decoder(model, 4096);
  decoder.feed(std::vector<int32_t>(64, 3));
  const std::vector<int32_t> one = {2};
  decoder.feed(one);
  constexpr int kDecoded = 48;
  std::vector<double> seconds;
  for (auto _ : state) {
    const auto start = Clock::now();
    for (int i = 0; i < kDecoded; ++i) decoder.feed(one);
    seconds.push_back(seconds_since(start) / kDecoded);
    decoder.truncate(64);
  }
  state.counters["tokens/s"] = 1 / median(seconds);
}

[[maybe_unused]] const int kModels = [] {
  if (std::getenv("RAM_BENCH_MODEL") == nullptr) return 0;
  benchmark::RegisterBenchmark("model_prefill", model_prefill)->Unit(benchmark::kMillisecond);
  benchmark::RegisterBenchmark("model_decode", model_decode)->Unit(benchmark::kMillisecond);
  return 0;
}();

BENCHMARK_CAPTURE(dense, f32_4096x4096, 4096, 4096, Precision::kF32)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(dense, f32_11008x4096, 11008, 4096, Precision::kF32)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(dense, f32_4096x11008, 4096, 11008, Precision::kF32)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(dense, f32_2048x1024, 2048, 1024, Precision::kF32)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(dense, f32_1024x384, 1024, 384, Precision::kF32)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(dense, bf16_4096x4096, 4096, 4096, Precision::kBF16)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(experts, 768x2048_by_128, 768, 2048, 128)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(experts, 768x2048_by_512, 768, 2048, 512)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(experts, 2048x768_by_128, 2048, 768, 128)->Unit(benchmark::kMillisecond);
[[maybe_unused]] const int kMatvecs = [] {
  std::vector<AffineFormat> formats(kAffineFormats.begin(), kAffineFormats.end());
  formats.push_back({.bits = 0, .group_size = 0});
  for (const bool hot : {true, false}) {
    for (const AffineFormat format : formats) {
      const std::string name = std::string(hot ? "matvec_hot/" : "matvec/") +
                               (format.bits == 0 ? "bf16" : format_name(format));
      benchmark::RegisterBenchmark(name.c_str(), [=](benchmark::State& state) {
        matvec(state, format.bits, format.group_size, hot);
      })->Unit(benchmark::kMicrosecond);
    }
  }
  return 0;
}();
BENCHMARK_CAPTURE(decode, bf16, 0, 0)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode, 8_64, 8, 64)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode, 4_64, 4, 64)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(decode, 3_32, 3, 32)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace ram

int main(int argc, char** argv) {
  ram::return_freed_blocks();  // as the program does
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
