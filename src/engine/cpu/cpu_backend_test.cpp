// The CPU's operations by themselves, beside plain loops, and what it keeps of a sequence.
#include "cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/random_values.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::TempFolder;
using testing::TinyModel;

/// A backend for a tiny model, with all that outlives it.
struct Opened {
  explicit Opened(const TinyModel& spec = {}) {
    testing::write_tiny_model(folder.path(), spec);
    checkpoint = Checkpoint::open(folder.path().string());
    backend.emplace(
        BackendResources{.checkpoint = *checkpoint, .options = options, .threads = threads});
  }
  TempFolder folder;
  std::optional<Checkpoint> checkpoint;
  EngineOptions options{.threads = 2, .memory_bytes = int64_t{1} << 30};
  ThreadPool threads{2};
  std::optional<CpuBackend> backend;
};

Matrix random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  Matrix x(rows, cols);
  const auto values = testing::random_values(seed, "x", rows * cols, 0, 1);
  std::copy(values.begin(), values.end(), x.data());
  return x;
}

std::vector<float> values_of(const Tensor& x) {
  return {cpu_data(x), cpu_data(x) + x.rows * x.cols};
}

TEST(MakeBackend, NamesThoseThatThereAre) {
  TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  try {
    const LanguageModel model(Checkpoint::open(folder.path().string()),
                              {.threads = 1, .backend = "abacus"});
    FAIL() << "was made";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUsage);
    EXPECT_EQ(std::string(error.what()), "backend abacus: there is cpu");
  }
}

TEST(CpuBackend, TakesAMatrixsMemoryAndGivesItBack) {
  Opened opened;
  Matrix values = random_matrix(5, 24, 1);
  const Matrix before = values.copy();
  const float* memory = values.data();
  Tensor x = opened.backend->upload(std::move(values));
  EXPECT_EQ(cpu_data(x), memory);
  const Matrix back = opened.backend->to_matrix(std::move(x));
  EXPECT_EQ(back.data(), memory);
  EXPECT_TRUE(std::equal(back.data(), back.data() + 5 * 24, before.data()));
}

TEST(CpuBackend, CopiesWhatOthersShare) {
  Opened opened;
  Tensor x = opened.backend->upload(random_matrix(5, 24, 1));
  const Tensor shared = x;
  Matrix copy = opened.backend->to_matrix(std::move(x));
  copy.row(2)[3] = 100;
  EXPECT_NE(cpu_data(shared)[2 * 24 + 3], 100);
  const Matrix of_pool = opened.backend->to_matrix(opened.backend->zeros(3, 8));
  EXPECT_EQ(std::count(of_pool.data(), of_pool.data() + 24, 0.0F), 24);
}

// Each token's experts add up in increasing order, whatever ranges they come in.
TEST(CpuBackend, CombinesWhatEachTokensExpertsGave) {
  Opened opened;
  constexpr int64_t kTokens = 300;
  constexpr int64_t kExperts = 6;
  constexpr int64_t kCols = 40;
  const RouteSpec spec{.experts_per_token = 3, .renormalise = true};
  CpuBackend& backend = *opened.backend;
  const Tensor scores = backend.upload(random_matrix(kTokens, kExperts, 2));
  const Tensor x = backend.upload(random_matrix(kTokens, kCols, 3));
  const Routing routing = backend.route(scores, spec);
  // Of each token and expert its weight, 0 where it is not chosen.
  std::vector<float> weights(kTokens * kExperts);
  const CpuRouting& own = cpu_routing(routing);
  for (int64_t expert = 0; expert < kExperts; ++expert) {
    const auto& segment = own.segments[static_cast<size_t>(expert)];
    for (int64_t i = segment.begin; i < segment.begin + segment.count; ++i) {
      const auto at = static_cast<size_t>(own.token[static_cast<size_t>(i)] * kExperts + expert);
      EXPECT_EQ(weights[at], 0);
      weights[at] = own.weight[static_cast<size_t>(i)];
    }
  }
  std::vector<float> expected(kTokens * kCols, 0);
  for (int64_t token = 0; token < kTokens; ++token) {
    int chosen = 0;
    for (int64_t expert = 0; expert < kExperts; ++expert) {
      const float weight = weights[static_cast<size_t>(token * kExperts + expert)];
      if (weight == 0) continue;
      ++chosen;
      for (int64_t i = 0; i < kCols; ++i) {
        float& sum = expected[static_cast<size_t>(token * kCols + i)];
        sum = std::fma(weight, cpu_data(x)[token * kCols + i], sum);
      }
    }
    EXPECT_EQ(chosen, spec.experts_per_token);
  }
  for (const int step : {6, 4, 1}) {
    Tensor sum = backend.zeros(kTokens, kCols);
    for (int first = 0; first < kExperts; first += step) {
      const ExpertRange range{.first = first,
                              .last = std::min(first + step, static_cast<int>(kExperts))};
      backend.combine(sum, backend.gather(x, routing, range), routing, range);
    }
    const std::vector<float> found = values_of(sum);
    for (size_t i = 0; i < expected.size(); ++i) {
      // Where vectors have no fused multiplication and addition, by one rounding.
      ASSERT_NEAR(found[i], expected[i], 1e-6) << step << " " << i;
    }
  }
}

TEST(CpuBackend, AStateTakesTheBytesThatItNames) {
  for (const std::string family : {"llama", "qwen3_moe"}) {
    TinyModel spec;
    spec.model_type = family;
    spec.layers = 3;
    spec.kv_heads = 2;
    Opened opened(spec);
    const auto state = opened.backend->make_state();
    const int64_t empty = opened.backend->buffers().account().used_bytes;
    for (const int64_t tokens : {256, 1024, 5000}) {
      opened.backend->grow(*state, tokens, 0);
      const int64_t taken = opened.backend->buffers().account().used_bytes - empty;
      const int64_t named = state->fixed_bytes() + tokens * state->bytes_per_token();
      EXPECT_GE(taken, named) << tokens;
      // Buffers come in sizes an eighth apart.
      EXPECT_LE(taken, named + named / 8) << tokens;
    }
  }
}

TEST(CpuBackend, AStateThatGrowsKeepsWhatItHeld) {
  Opened opened;
  CpuBackend& backend = *opened.backend;
  constexpr int64_t kTokens = 7;
  const ModelConfig& config = opened.checkpoint->config;
  const AttentionSpec spec{
      .layer = 1, .heads = config.heads, .kv_heads = config.kv_heads, .head_dim = config.head_dim};
  backend.make_room({.fewest = 1, .most = kTokens});
  const Tensor q = backend.upload(random_matrix(kTokens, config.heads * config.head_dim, 4));
  const Tensor k = backend.upload(random_matrix(kTokens, config.kv_heads * config.head_dim, 5));
  const Tensor v = backend.upload(random_matrix(kTokens, config.kv_heads * config.head_dim, 6));
  const std::vector<float> whole =
      values_of(backend.attention(q, k, v, spec, nullptr, /*position=*/0));
  const auto state = backend.make_state();
  for (int64_t token = 0; token < kTokens; ++token) {
    backend.grow(*state, token + 1, token);
    const auto row = [&](const Tensor& x) { return backend.copy_rows(x, token, 1); };
    const Tensor found = backend.attention(row(q), row(k), row(v), spec, state.get(), token);
    for (int64_t i = 0; i < found.cols; ++i) {
      ASSERT_NEAR(cpu_data(found)[i], whole[static_cast<size_t>(token * found.cols + i)], 1e-5);
    }
  }
}

}  // namespace
}  // namespace ram
