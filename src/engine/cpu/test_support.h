// What tests of the CPU's operations share: a backend for a tiny model, and attention in plain
// loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <vector>

#include "ram/engine.h"
#include "ram/thread.h"

#include "cpu/cpu_backend.h"
#include "support/random_values.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram::testing {

/// A backend for a tiny model, with everything that must outlive it.
struct Opened {
  /// @param change edits the model's config after it is read.
  explicit Opened(const TinyModel& spec = {},
                  const std::function<void(ModelConfig& config)>& change = {}) {
    write_tiny_model(folder.path(), spec);
    checkpoint = Checkpoint::open(folder.path().string());
    if (change) change(checkpoint->config);
    backend.emplace(
        BackendResources{.checkpoint = *checkpoint, .options = options, .threads = threads});
  }
  TempFolder folder;
  std::optional<Checkpoint> checkpoint;
  EngineOptions options{.threads = 2, .memory_bytes = int64_t{1} << 30};
  ThreadPool threads{2};
  std::optional<CpuBackend> backend;
};

inline Matrix random_matrix(int64_t rows, int64_t cols, uint64_t seed) {
  Matrix x(rows, cols);
  const auto values = random_values(seed, "x", rows * cols, 0, 1);
  std::copy(values.begin(), values.end(), x.data());
  return x;
}

/// Causal attention in double, one query and head after another. q [tokens, heads x key_dim], k and
/// v likewise. @return [tokens, heads x value_dim]
inline std::vector<double> plain_attention(const AttentionSpec& spec, const std::vector<double>& q,
                                           const std::vector<double>& k,
                                           const std::vector<double>& v) {
  const auto row = [](const std::vector<double>& x, int64_t at, int64_t heads, int64_t head,
                      int64_t dim) { return x.data() + (at * heads + head) * dim; };
  const int64_t tokens = std::ssize(q) / (spec.heads * spec.key_dim);
  std::vector<double> out(static_cast<size_t>(tokens * spec.heads * spec.value_dim));
  for (int64_t t = 0; t < tokens; ++t) {
    const int64_t from = spec.window == 0 ? 0 : std::max<int64_t>(0, t - spec.window + 1);
    for (int64_t head = 0; head < spec.heads; ++head) {
      const int64_t kv_head = head / (spec.heads / spec.kv_heads);
      const double* query = row(q, t, spec.heads, head, spec.key_dim);
      std::vector<double> shares;
      double sum = 0;
      for (int64_t j = from; j <= t; ++j) {
        const double* key = row(k, j, spec.kv_heads, kv_head, spec.key_dim);
        double score = 0;
        for (int64_t i = 0; i < spec.key_dim; ++i) score += query[i] * key[i];
        shares.push_back(std::exp(score / std::sqrt(static_cast<double>(spec.key_dim))));
        sum += shares.back();
      }
      for (int64_t j = from; j <= t; ++j) {
        const double* value = row(v, j, spec.kv_heads, kv_head, spec.value_dim);
        for (int64_t i = 0; i < spec.value_dim; ++i) {
          out[static_cast<size_t>((t * spec.heads + head) * spec.value_dim + i)] +=
              shares[static_cast<size_t>(j - from)] / sum * value[i];
        }
      }
    }
  }
  return out;
}

/// A model whose layers have these heads.
inline Opened opened_with(const AttentionSpec& spec) {
  TinyModel model;
  model.heads = spec.heads;
  model.kv_heads = spec.kv_heads;
  return Opened(model, [&spec](ModelConfig& config) {
    for (LayerConfig& layer : config.layers) {
      layer.attention.key_dim = spec.key_dim;
      layer.attention.value_dim = spec.value_dim;
    }
  });
}

}  // namespace ram::testing
