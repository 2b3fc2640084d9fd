// The CPU's operations alone, against plain loops, and its state of a sequence.
#include "cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/error.h"

#include "cpu/test_support.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::Opened;
using testing::opened_with;
using testing::random_matrix;
using testing::TempFolder;
using testing::TinyModel;

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
    EXPECT_EQ(std::string(error.what()), "no backend abacus; available: cpu");
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

// Each token's experts are added in increasing order, in whatever ranges they are processed.
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
  // The weight per token and expert, 0 where it is not chosen.
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
      // Without fused multiply-add in vectors, results differ by one rounding.
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
      // Buffer sizes are up to an eighth apart.
      EXPECT_LE(taken, named + named / 8) << tokens;
    }
  }
}

/// Queries, keys and values of some tokens, and how they attend.
struct Attending {
  AttentionSpec spec;
  Matrix q;
  Matrix k;
  Matrix v;

  Attending(const AttentionSpec& spec_in, int64_t tokens)
      : spec(spec_in),
        q(random_matrix(tokens, spec.heads * spec.key_dim, 4)),
        k(random_matrix(tokens, spec.kv_heads * spec.key_dim, 5)),
        v(random_matrix(tokens, spec.kv_heads * spec.value_dim, 6)) {}

  std::vector<double> plain() const {
    const auto doubles = [](const Matrix& x) {
      return std::vector<double>(x.data(), x.data() + x.rows() * x.cols());
    };
    return testing::plain_attention(spec, doubles(q), doubles(k), doubles(v));
  }
};

void expect_row(const Tensor& found, int64_t row, std::span<const double> expected, int64_t at) {
  for (int64_t i = 0; i < found.cols; ++i) {
    ASSERT_NEAR(cpu_data(found)[row * found.cols + i],
                expected[static_cast<size_t>(at * found.cols + i)], 1e-5)
        << at << " " << i;
  }
}

class CpuAttention : public ::testing::TestWithParam<AttentionSpec> {};

INSTANTIATE_TEST_SUITE_P(
    Specs, CpuAttention,
    ::testing::Values(
        AttentionSpec{.layer = 1, .heads = 4, .kv_heads = 2, .key_dim = 16, .value_dim = 16},
        AttentionSpec{
            .layer = 0, .heads = 4, .kv_heads = 1, .key_dim = 24, .value_dim = 16, .window = 40},
        AttentionSpec{.layer = 1, .heads = 2, .kv_heads = 2, .key_dim = 16, .value_dim = 40}));

TEST_P(CpuAttention, IsThatOfPlainLoops) {
  constexpr int64_t kTokens = 150;
  Opened opened = opened_with(GetParam());
  CpuBackend& backend = *opened.backend;
  const Attending at(GetParam(), kTokens);
  const std::vector<double> expected = at.plain();
  const Tensor q = backend.upload(at.q.copy());
  const Tensor k = backend.upload(at.k.copy());
  const Tensor v = backend.upload(at.v.copy());
  const Tensor whole = backend.attention(q, k, v, at.spec, nullptr, /*position=*/0);
  ASSERT_EQ(whole.cols, at.spec.heads * at.spec.value_dim);
  for (int64_t t = 0; t < kTokens; ++t) expect_row(whole, t, expected, t);
}

// A state that grows keeps what it held: in blocks, one by one, and two sequences abreast.
TEST_P(CpuAttention, GoesOnFromAState) {
  constexpr int64_t kTokens = 70;
  Opened opened = opened_with(GetParam());
  CpuBackend& backend = *opened.backend;
  const Attending at(GetParam(), kTokens);
  const std::vector<double> expected = at.plain();
  const Tensor q = backend.upload(at.q.copy());
  const Tensor k = backend.upload(at.k.copy());
  const Tensor v = backend.upload(at.v.copy());
  const auto rows = [&](const Tensor& x, int64_t first, int64_t count) {
    return backend.copy_rows(x, first, count);
  };
  const auto one = backend.make_state();
  const auto two = backend.make_state();
  for (const auto& state : {one.get(), two.get()}) {
    backend.grow(*state, 50, 0);
    backend.attention(rows(q, 0, 50), rows(k, 0, 50), rows(v, 0, 50), at.spec, state, 0);
    backend.grow(*state, kTokens, 50);
  }
  for (int64_t t = 50; t < 60; ++t) {
    for (const auto& state : {one.get(), two.get()}) {
      const Tensor found =
          backend.attention(rows(q, t, 1), rows(k, t, 1), rows(v, t, 1), at.spec, state, t);
      expect_row(found, 0, expected, t);
    }
  }
  const std::vector<SequenceState*> both = {one.get(), two.get()};
  for (int64_t t = 60; t < kTokens; ++t) {
    const auto twice = [&](const Tensor& x) {
      Matrix pair(2, x.cols);
      for (int64_t i = 0; i < 2; ++i) std::copy_n(cpu_data(x) + t * x.cols, x.cols, pair.row(i));
      return backend.upload(std::move(pair));
    };
    const Tensor found = backend.attention_abreast(twice(q), twice(k), twice(v), at.spec, both, t);
    for (int64_t i = 0; i < 2; ++i) expect_row(found, i, expected, t);
  }
}

// Each layer's own angles, and the dimensions of a head that they rotate.
TEST(CpuBackend, TurnsThePartOfAHeadThatTheLayerNames) {
  TinyModel model;
  model.layers = 3;
  Opened opened(model, [](ModelConfig& config) {
    config.layers[1].attention.rotated = 8;
    config.layers[2].attention.rope.theta = 100;
  });
  CpuBackend& backend = *opened.backend;
  constexpr int64_t kHeads = 2;
  const int64_t dim = opened.checkpoint->config.layer(0).attention.key_dim;
  constexpr int64_t kTokens = 9;
  backend.begin_pass({.fewest = kTokens, .most = kTokens}, kTokens);
  const Matrix before = random_matrix(kTokens, kHeads * dim, 7);
  for (int layer = 0; layer < 3; ++layer) {
    const AttentionConfig& own = opened.checkpoint->config.layer(layer).attention;
    Tensor x = backend.upload(before.copy());
    backend.rope(x, layer, kHeads, /*position=*/0, /*step=*/1);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t head = 0; head < kHeads; ++head) {
        const float* from = before.row(t) + head * dim;
        const float* found = cpu_data(x) + t * x.cols + head * dim;
        for (int64_t i = 0; i < dim; ++i) {
          double expected = from[i];
          if (i < own.rotated) {
            const int64_t half = own.rotated / 2;
            const int64_t pair = i % half;
            const double angle = static_cast<double>(t) *
                                 std::pow(own.rope.theta, -2.0 * static_cast<double>(pair) /
                                                              static_cast<double>(own.rotated));
            const double a = from[pair];
            const double b = from[pair + half];
            expected = i < half ? a * std::cos(angle) - b * std::sin(angle)
                                : b * std::cos(angle) + a * std::sin(angle);
          }
          ASSERT_NEAR(found[i], expected, 1e-5) << layer << " " << t << " " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace ram
