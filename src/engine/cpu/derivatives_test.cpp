// Each operation's derivative against finite differences of the operation in plain loops, in
// double.
#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/dtype.h"

#include "cpu/cpu_backend.h"
#include "cpu/test_support.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::Opened;
using testing::opened_with;
using testing::random_matrix;
using testing::TinyModel;

using Values = std::vector<double>;

Values doubles_of(const Tensor& x) {
  return {cpu_data(x), cpu_data(x) + x.rows * x.cols};
}

Tensor random_tensor(CpuBackend& backend, int64_t rows, int64_t cols, uint64_t seed) {
  return backend.upload(random_matrix(rows, cols, seed));
}

/// Expects `found` to be the slope of sum(dy f(x)) at x, of at most 300 elements of x.
void expect_slope(const std::function<Values(const Values& x)>& f, const Tensor& x,
                  const Tensor& dy, const Tensor& found) {
  ASSERT_EQ(found.rows, x.rows);
  ASSERT_EQ(found.cols, x.cols);
  const Values factors = doubles_of(dy);
  Values at = doubles_of(x);
  const auto number = [&] {
    const Values y = f(at);
    EXPECT_EQ(y.size(), factors.size());
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += factors[i] * y[i];
    return sum;
  };
  double largest = 0;
  for (const double value : doubles_of(found)) largest = std::max(largest, std::abs(value));
  ASSERT_GT(largest, 0);
  const size_t step = at.size() / 300 + 1;
  for (size_t i = 0; i < at.size(); i += step) {
    constexpr double kMove = 1e-5;
    const double before = at[i];
    at[i] = before + kMove;
    const double more = number();
    at[i] = before - kMove;
    const double less = number();
    at[i] = before;
    ASSERT_NEAR(cpu_data(found)[i], (more - less) / (2 * kMove), 1e-5 * std::max(1.0, largest))
        << i;
  }
}

int unit_named(const Opened& opened, const std::string& suffix) {
  const auto& units = opened.checkpoint->units;
  const auto at = std::find_if(units.begin(), units.end(),
                               [&](const Unit& unit) { return unit.name.ends_with(suffix); });
  EXPECT_NE(at, units.end()) << suffix;
  return static_cast<int>(at - units.begin());
}

/// A part's weights, [rows, cols].
Values weights_in(const Opened& opened, int index, int part = 0) {
  const Unit& unit = opened.checkpoint->units[static_cast<size_t>(index)];
  std::vector<std::byte> raw(static_cast<size_t>(unit.part_weights() * dtype_bytes(unit.dtype)));
  opened.checkpoint->read_rows(unit, part, 0, unit.rows, raw.data());
  std::vector<float> values(static_cast<size_t>(unit.part_weights()));
  to_f32(raw.data(), unit.dtype, unit.part_weights(), values.data());
  return {values.begin(), values.end()};
}

/// x W^T, x [tokens, cols].
Values plain_linear(const Values& x, const Values& weights, int64_t cols) {
  Values y;
  for (auto row = x.begin(); row != x.end(); row += cols) {
    for (auto weight = weights.begin(); weight != weights.end(); weight += cols) {
      y.push_back(std::inner_product(row, row + cols, weight, 0.0));
    }
  }
  return y;
}

double plain_sigmoid(double x) {
  return 1 / (1 + std::exp(-x));
}

constexpr int64_t kSomeTokens = 11;

TEST(Derivatives, OfLinears) {
  Opened opened;
  CpuBackend& backend = *opened.backend;
  const int unit = unit_named(opened, "down_proj");
  const Values weights = weights_in(opened, unit);
  const WeightSlice slice{.unit = unit};
  backend.acquire_back({&slice, 1});
  const Tensor x = random_tensor(backend, kSomeTokens, 128, 1);
  const Tensor dy = random_tensor(backend, kSomeTokens, 64, 2);
  expect_slope([&](const Values& at) { return plain_linear(at, weights, 128); }, x, dy,
               backend.linear_back(dy, unit));
}

TEST(Derivatives, OfAPieceOfTheLogits) {
  TinyModel model;
  model.vocab = kLogitIds + 96;
  Opened opened(model);
  CpuBackend& backend = *opened.backend;
  const int head = opened.checkpoint->head;
  const Values all = weights_in(opened, head);
  backend.acquire_rows_back(head, kLogitIds, model.vocab);
  const Tensor x = random_tensor(backend, kSomeTokens, 64, 1);
  const Tensor dy = random_tensor(backend, kSomeTokens, 96, 2);
  const Values weights(all.begin() + kLogitIds * 64, all.end());
  expect_slope([&](const Values& at) { return plain_linear(at, weights, 64); }, x, dy,
               backend.logits_back(dy, head, kLogitIds));
}

TEST(Derivatives, OfNorms) {
  TinyModel model;
  model.model_type = "qwen3";
  Opened opened(model);
  CpuBackend& backend = *opened.backend;
  constexpr double kEpsilon = 1e-3;
  for (const std::string name : {"input_layernorm", "q_norm"}) {
    const int unit = unit_named(opened, name);
    const Values weights = weights_in(opened, unit);
    const Tensor x = random_tensor(backend, kSomeTokens, 64, 1);
    const Tensor dy = random_tensor(backend, kSomeTokens, 64, 2);
    const auto norm = [&](const Values& at) {
      Values y(at.size());
      for (size_t first = 0; first < at.size(); first += weights.size()) {
        double squares = 0;
        for (size_t i = 0; i < weights.size(); ++i) squares += at[first + i] * at[first + i];
        const double root = std::sqrt(squares / static_cast<double>(weights.size()) + kEpsilon);
        for (size_t i = 0; i < weights.size(); ++i) {
          y[first + i] = at[first + i] / root * weights[i];
        }
      }
      return y;
    };
    expect_slope(norm, x, dy, backend.rms_norm_back(x, dy, unit, kEpsilon));
  }
}

TEST(Derivatives, OfRotations) {
  Opened opened({}, [](ModelConfig& config) { config.layers[1].attention.rotated = 8; });
  CpuBackend& backend = *opened.backend;
  backend.begin_pass({.fewest = kSomeTokens, .most = kSomeTokens}, kSomeTokens + 3);
  constexpr int64_t kHeads = 2;
  constexpr int64_t kDim = 32;
  for (int layer = 0; layer < 2; ++layer) {
    const AttentionConfig& own = opened.checkpoint->config.layer(layer).attention;
    const int64_t half = own.rotated / 2;
    const auto turn = [&](const Values& at) {
      Values y = at;
      for (int64_t run = 0; run < kSomeTokens * kHeads; ++run) {
        for (int64_t i = 0; i < half; ++i) {
          const int64_t position = run / kHeads + 3;
          const double angle = static_cast<double>(position) *
                               std::pow(own.rope.theta, -2.0 * static_cast<double>(i) /
                                                            static_cast<double>(own.rotated));
          const auto a = static_cast<size_t>(run * kDim + i);
          const auto b = static_cast<size_t>(run * kDim + i + half);
          y[a] = at[a] * std::cos(angle) - at[b] * std::sin(angle);
          y[b] = at[b] * std::cos(angle) + at[a] * std::sin(angle);
        }
      }
      return y;
    };
    const Tensor x = random_tensor(backend, kSomeTokens, kHeads * kDim, 1);
    const Tensor dy = random_tensor(backend, kSomeTokens, kHeads * kDim, 2);
    Tensor dx = backend.copy_rows(dy, 0, dy.rows);
    backend.rope_back(dx, layer, kHeads, /*position=*/3);
    expect_slope(turn, x, dy, dx);
  }
}

// More tokens than a block of queries, and than the products' depth of sums.
class AttentionDerivatives : public ::testing::TestWithParam<AttentionSpec> {};

INSTANTIATE_TEST_SUITE_P(
    Specs, AttentionDerivatives,
    ::testing::Values(AttentionSpec{.heads = 4, .kv_heads = 2, .key_dim = 16, .value_dim = 16},
                      AttentionSpec{
                          .heads = 2, .kv_heads = 1, .key_dim = 24, .value_dim = 16, .window = 40},
                      AttentionSpec{.heads = 2, .kv_heads = 2, .key_dim = 16, .value_dim = 40}));

TEST_P(AttentionDerivatives, AreTheSlopes) {
  const AttentionSpec& spec = GetParam();
  Opened opened = opened_with(spec);
  CpuBackend& backend = *opened.backend;
  for (const int64_t tokens : {int64_t{9}, int64_t{300}}) {
    const Tensor q = random_tensor(backend, tokens, spec.heads * spec.key_dim, 1);
    const Tensor k = random_tensor(backend, tokens, spec.kv_heads * spec.key_dim, 2);
    const Tensor v = random_tensor(backend, tokens, spec.kv_heads * spec.value_dim, 3);
    const Tensor dy = random_tensor(backend, tokens, spec.heads * spec.value_dim, 4);
    const AttentionGradients found = backend.attention_back(q, k, v, dy, spec);
    const Values qs = doubles_of(q);
    const Values ks = doubles_of(k);
    const Values vs = doubles_of(v);
    if (tokens > 100) {
      // Too slow for differences of each element: along one direction of all three.
      const Tensor dq = random_tensor(backend, q.rows, q.cols, 5);
      const Tensor dk = random_tensor(backend, k.rows, k.cols, 6);
      const Tensor dv = random_tensor(backend, v.rows, v.cols, 7);
      const auto moved = [](const Values& x, const Tensor& direction, double by) {
        Values result = x;
        for (size_t i = 0; i < x.size(); ++i) result[i] += by * double{cpu_data(direction)[i]};
        return result;
      };
      const auto number = [&](double by) {
        const Values y =
            testing::plain_attention(spec, moved(qs, dq, by), moved(ks, dk, by), moved(vs, dv, by));
        return std::inner_product(y.begin(), y.end(), cpu_data(dy), 0.0);
      };
      const auto along = [](const Tensor& gradient, const Tensor& direction) {
        return std::inner_product(cpu_data(gradient),
                                  cpu_data(gradient) + gradient.rows * gradient.cols,
                                  cpu_data(direction), 0.0);
      };
      constexpr double kMove = 1e-5;
      const double expected = (number(kMove) - number(-kMove)) / (2 * kMove);
      EXPECT_NEAR(along(found.q, dq) + along(found.k, dk) + along(found.v, dv), expected,
                  1e-5 * std::sqrt(static_cast<double>(qs.size())));
      continue;
    }
    expect_slope([&](const Values& at) { return testing::plain_attention(spec, at, ks, vs); }, q,
                 dy, found.q);
    expect_slope([&](const Values& at) { return testing::plain_attention(spec, qs, at, vs); }, k,
                 dy, found.k);
    expect_slope([&](const Values& at) { return testing::plain_attention(spec, qs, ks, at); }, v,
                 dy, found.v);
  }
}

TEST(Derivatives, OfGates) {
  Opened opened;
  CpuBackend& backend = *opened.backend;
  const Tensor gate = random_tensor(backend, kSomeTokens, 37, 1);
  const Tensor up = random_tensor(backend, kSomeTokens, 37, 2);
  const Tensor dy = random_tensor(backend, kSomeTokens, 37, 3);
  const GateGradients found = backend.gate_back(gate, up, dy);
  const auto gated = [](const Values& g, const Values& u) {
    Values y;
    for (size_t i = 0; i < g.size(); ++i) y.push_back(g[i] * plain_sigmoid(g[i]) * u[i]);
    return y;
  };
  const Values gates = doubles_of(gate);
  const Values ups = doubles_of(up);
  expect_slope([&](const Values& at) { return gated(at, ups); }, gate, dy, found.gate);
  expect_slope([&](const Values& at) { return gated(gates, at); }, up, dy, found.up);
}

TEST(Derivatives, OfScalingBySigmoids) {
  Opened opened;
  CpuBackend& backend = *opened.backend;
  const Tensor x = random_tensor(backend, kSomeTokens, 37, 1);
  const Tensor gate = random_tensor(backend, kSomeTokens, 1, 2);
  const Tensor dy = random_tensor(backend, kSomeTokens, 37, 3);
  Tensor dx = backend.copy_rows(dy, 0, dy.rows);
  const Tensor dgate = backend.scale_by_sigmoid_back(x, gate, dx);
  const auto scaled = [](const Values& in, const Values& gates) {
    Values y;
    for (size_t i = 0; i < in.size(); ++i) y.push_back(in[i] * plain_sigmoid(gates[i / 37]));
    return y;
  };
  expect_slope([&](const Values& at) { return scaled(at, doubles_of(gate)); }, x, dy, dx);
  expect_slope([&](const Values& at) { return scaled(doubles_of(x), at); }, gate, dy, dgate);
}

/// Router logits of some tokens, where these go, and the plain form of both.
struct Routed {
  static constexpr int64_t kExperts = 5;
  static constexpr int64_t kWidth = 12;

  Routed(CpuBackend& backend, bool renormalise)
      : spec{.experts_per_token = 2, .renormalise = renormalise},
        logits(random_tensor(backend, kSomeTokens, kExperts, 1)),
        routing(backend.route(logits, spec)) {}

  /// The weight of each token's experts, [tokens, experts], 0 where it is not chosen. Those chosen
  /// are those of the routing.
  Values weights(const Values& at) const {
    Values result(at.size());
    const CpuRouting& own = cpu_routing(routing);
    for (int64_t expert = 0; expert < kExperts; ++expert) {
      const auto& segment = own.segments[static_cast<size_t>(expert)];
      for (int64_t i = segment.begin; i < segment.begin + segment.count; ++i) {
        result[static_cast<size_t>(own.token[static_cast<size_t>(i)] * kExperts + expert)] = 1;
      }
    }
    for (size_t token = 0; token < static_cast<size_t>(kSomeTokens); ++token) {
      double all = 0;
      double chosen = 0;
      for (size_t i = token * kExperts; i < (token + 1) * kExperts; ++i) {
        all += std::exp(at[i]);
        chosen += result[i] * std::exp(at[i]);
      }
      for (size_t i = token * kExperts; i < (token + 1) * kExperts; ++i) {
        result[i] *= std::exp(at[i]) / (spec.renormalise ? chosen : all);
      }
    }
    return result;
  }

  RouteSpec spec;
  Tensor logits;
  Routing routing;
};

TEST(Derivatives, OfRouting) {
  Opened opened;
  CpuBackend& backend = *opened.backend;
  for (const bool renormalise : {false, true}) {
    const Routed routed(backend, renormalise);
    const Tensor dweights = random_tensor(backend, kSomeTokens, Routed::kExperts, 2);
    expect_slope([&](const Values& at) { return routed.weights(at); }, routed.logits, dweights,
                 backend.route_back(dweights, routed.routing, routed.logits, routed.spec));
  }
}

TEST(Derivatives, OfGatheringAndCombining) {
  Opened opened;
  CpuBackend& backend = *opened.backend;
  const Routed routed(backend, true);
  const ExpertRange range{.first = 0, .last = Routed::kExperts};
  const std::vector<ExpertRows> blocks = backend.expert_rows(routed.routing, range);
  constexpr int64_t kWidth = Routed::kWidth;
  const Tensor x = random_tensor(backend, kSomeTokens, kWidth, 3);
  const Tensor y = backend.gather(x, routed.routing, range);
  const auto gathered = [&](const Values& at) {
    Values result(static_cast<size_t>(y.rows * kWidth));  // between experts there may be gaps
    for (const ExpertRows& rows : blocks) {
      for (int64_t i = 0; i < rows.count; ++i) {
        const int64_t token = rows.positions[static_cast<size_t>(i)];
        std::copy_n(at.begin() + token * kWidth, kWidth,
                    result.begin() + (rows.begin + i) * kWidth);
      }
    }
    return result;
  };
  const Tensor dy = random_tensor(backend, y.rows, kWidth, 4);
  Tensor dx = backend.zeros(kSomeTokens, kWidth);
  backend.gather_back(dx, dy, routed.routing, range);
  expect_slope(gathered, x, dy, dx);

  const auto combined = [&](const Values& weights, const Values& in) {
    Values sum(static_cast<size_t>(kSomeTokens * kWidth));
    for (const ExpertRows& rows : blocks) {
      for (int64_t i = 0; i < rows.count * kWidth; ++i) {
        const int64_t token = rows.positions[static_cast<size_t>(i / kWidth)];
        const double weight = weights[static_cast<size_t>(token * Routed::kExperts + rows.expert)];
        sum[static_cast<size_t>(token * kWidth + i % kWidth)] +=
            weight * in[static_cast<size_t>(rows.begin * kWidth + i)];
      }
    }
    return sum;
  };
  const Values weights = routed.weights(doubles_of(routed.logits));
  const Tensor dsum = random_tensor(backend, kSomeTokens, kWidth, 5);
  Tensor dweights = backend.zeros(kSomeTokens, Routed::kExperts);
  const Tensor back = backend.combine_back(dsum, y, routed.routing, range, dweights);
  expect_slope([&](const Values& at) { return combined(weights, at); }, y, dsum, back);
  Tensor at = backend.zeros(kSomeTokens, Routed::kExperts);
  std::copy(weights.begin(), weights.end(), cpu_data(at));
  expect_slope([&](const Values& w) { return combined(w, doubles_of(y)); }, at, dsum, dweights);
}

TEST(Derivatives, OfExpertsLinears) {
  TinyModel model;
  model.model_type = "qwen3_moe";
  model.experts = Routed::kExperts;
  Opened opened(model);
  CpuBackend& backend = *opened.backend;
  const Routed routed(backend, true);
  const ExpertRange range{.first = 1, .last = Routed::kExperts};
  const std::vector<ExpertRows> blocks = backend.expert_rows(routed.routing, range);
  const int unit = unit_named(opened, "switch_mlp.down_proj");
  const WeightSlice slice{.unit = unit, .first_part = range.first, .last_part = range.last};
  backend.acquire_back({&slice, 1});
  const int64_t cols = opened.checkpoint->units[static_cast<size_t>(unit)].cols;
  const int64_t rows = opened.checkpoint->units[static_cast<size_t>(unit)].rows;
  const Tensor of_tokens = random_tensor(backend, kSomeTokens, cols, 3);
  const Tensor x = backend.gather(of_tokens, routed.routing, range);
  const Tensor dy = random_tensor(backend, x.rows, rows, 4);
  const auto linears = [&](const Values& at) {
    Values y(static_cast<size_t>(x.rows * rows));
    for (const ExpertRows& block : blocks) {
      const Values in(at.begin() + block.begin * cols,
                      at.begin() + (block.begin + block.count) * cols);
      const Values out = plain_linear(in, weights_in(opened, unit, block.expert), cols);
      std::copy(out.begin(), out.end(), y.begin() + block.begin * rows);
    }
    return y;
  };
  expect_slope(linears, x, dy, backend.grouped_linear_back(dy, unit, routed.routing, range));
}

// In two pieces of the vocabulary; one token has no label.
TEST(Derivatives, OfTheLabelsLikelihood) {
  Opened opened;
  CpuBackend& backend = *opened.backend;
  constexpr int64_t kIds = 50;
  constexpr int64_t kFirstPiece = 32;
  const Tensor logits = random_tensor(backend, kSomeTokens, kIds, 1);
  std::vector<int32_t> labels;
  labels.reserve(kSomeTokens);
  for (int32_t t = 0; t < kSomeTokens; ++t) labels.push_back(t == 4 ? -1 : t * 5 % kIds);
  const auto log_sum = [](const Values& at, int64_t token) {
    double sum = 0;
    for (int64_t i = 0; i < kIds; ++i) sum += std::exp(at[static_cast<size_t>(token * kIds + i)]);
    return std::log(sum);
  };
  const auto likelihoods = [&](const Values& at) {
    Values y;
    for (int64_t t = 0; t < kSomeTokens; ++t) {
      const int32_t label = labels[static_cast<size_t>(t)];
      y.push_back(label < 0 ? 0 : at[static_cast<size_t>(t * kIds + label)] - log_sum(at, t));
    }
    return y;
  };
  Values sums;
  for (int64_t t = 0; t < kSomeTokens; ++t) sums.push_back(log_sum(doubles_of(logits), t));
  Tensor found = backend.zeros(kSomeTokens, kIds);
  for (const int64_t first : {int64_t{0}, kFirstPiece}) {
    const int64_t count = first == 0 ? kFirstPiece : kIds - kFirstPiece;
    Tensor piece = backend.zeros(kSomeTokens, count);
    for (int64_t t = 0; t < kSomeTokens; ++t) {
      std::copy_n(cpu_data(logits) + t * kIds + first, count, cpu_data(piece) + t * count);
    }
    backend.likelihood_back(piece, labels, sums, first);
    for (int64_t t = 0; t < kSomeTokens; ++t) {
      std::copy_n(cpu_data(piece) + t * count, count, cpu_data(found) + t * kIds + first);
    }
  }
  Matrix ones(kSomeTokens, 1);
  std::fill_n(ones.data(), kSomeTokens, 1.0F);
  expect_slope(likelihoods, logits, backend.upload(std::move(ones)), found);
  for (size_t t = 0; t < sums.size(); ++t) {
    const ExpSum all = backend.exp_sum(backend.host(logits).subspan(t * kIds, kIds));
    EXPECT_NEAR(all.largest + std::log(all.sum), sums[t], 1e-6);
  }
}

}  // namespace
}  // namespace ram
