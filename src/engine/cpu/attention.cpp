// Causal attention over blocks of queries: scores by a product, softmax, and the weighted sum of
// values by another product; a task is one head and one block of queries.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu/cpu_backend.h"
#include "cpu/kernels.h"
#include "cpu/tiles.h"

namespace ram {
namespace {

constexpr int64_t kQueryBlock = 128;

/// One sequence's arrays, rows of all heads side by side.
struct Attention {
  const AttentionSpec& spec;
  const float* queries;  // the first row at `position`
  const float* keys;     // from position 0
  const float* values;
  float* out;
  int64_t position;
  float scale;

  int64_t query_stride() const { return spec.heads * spec.key_dim; }
  int64_t out_stride() const { return spec.heads * spec.value_dim; }
  int64_t key_stride() const { return spec.kv_heads * spec.key_dim; }
  int64_t value_stride() const { return spec.kv_heads * spec.value_dim; }
  int64_t first_key(int64_t query) const {
    return spec.window == 0 ? 0 : std::max<int64_t>(0, query - spec.window + 1);
  }
};

/// Keys and values of all heads in the layout of the products: for each head keys [count, key_dim]
/// and values transposed, [value_dim, count].
struct TiledHeads {
  TiledHeads(const AttentionSpec& spec, int64_t count_in, BufferPool& buffers)
      : count(count_in),
        key_dim(spec.key_dim),
        value_dim(spec.value_dim),
        keys_floats(tiled_floats(count, key_dim)),
        values_floats(tiled_floats(value_dim, count)),
        keys(buffers.take(spec.kv_heads * keys_floats * 4)),
        values(buffers.take(spec.kv_heads * values_floats * 4)) {}

  float* keys_of(int64_t head) const {
    return reinterpret_cast<float*>(keys.get()) + head * keys_floats;
  }
  float* values_of(int64_t head) const {
    return reinterpret_cast<float*>(values.get()) + head * values_floats;
  }
  void tile(const Attention& from, int64_t head) const {
    tile_weights(from.keys + head * key_dim, from.key_stride(), 1, count, key_dim, keys_of(head));
    tile_weights(from.values + head * value_dim, 1, from.value_stride(), value_dim, count,
                 values_of(head));
  }

  int64_t count;
  int64_t key_dim;
  int64_t value_dim;
  int64_t keys_floats;
  int64_t values_floats;
  std::shared_ptr<std::byte> keys;
  std::shared_ptr<std::byte> values;
};

/// Softmax over the keys that a query sees; the first score belongs to key `base`; zero for the
/// others.
void soften(const Attention& attention, int64_t query, int64_t base, float* scores, int64_t count) {
  const int64_t from = attention.first_key(query) - base;
  const int64_t to = query + 1 - base;
  std::fill(scores, scores + from, 0.0F);
  softmax_row(scores + from, to - from, attention.scale);
  std::fill(scores + to, scores + count, 0.0F);
}

/// Queries [first, first + count) of one head.
void attend(const Attention& attention, const TiledHeads& heads, int64_t head, int64_t first,
            int64_t count, float* scores) {
  const AttentionSpec& spec = attention.spec;
  const int64_t kv_head = head / (spec.heads / spec.kv_heads);
  const int64_t base = attention.first_key(attention.position + first) / kTileDepth * kTileDepth;
  const int64_t keys = attention.position + first + count - base;
  multiply_tiled({.x = attention.queries + first * attention.query_stride() + head * spec.key_dim,
                  .x_stride = attention.query_stride(),
                  .rows = count,
                  .tiled = heads.keys_of(kv_head),
                  .tiled_n = heads.count,
                  .tiled_k = spec.key_dim,
                  .first_row = base,
                  .n = keys,
                  .k = spec.key_dim,
                  .y = scores,
                  .y_stride = keys});
  for (int64_t i = 0; i < count; ++i) {
    soften(attention, attention.position + first + i, base, scores + i * keys, keys);
  }
  multiply_tiled({.x = scores,
                  .x_stride = keys,
                  .rows = count,
                  .tiled = heads.values_of(kv_head),
                  .tiled_n = spec.value_dim,
                  .tiled_k = heads.count,
                  .n = spec.value_dim,
                  .first_col = base,
                  .k = keys,
                  .y = attention.out + first * attention.out_stride() + head * spec.value_dim,
                  .y_stride = attention.out_stride()});
}

/// One query: the heads that share keys are the rows of the products.
void attend_one(const Attention& attention, int64_t kv_head, float* scores) {
  const AttentionSpec& spec = attention.spec;
  const int64_t group = spec.heads / spec.kv_heads;
  const int64_t base = attention.first_key(attention.position);
  const int64_t keys = attention.position + 1 - base;
  const float* queries = attention.queries + kv_head * group * spec.key_dim;
  float* outs = attention.out + kv_head * group * spec.value_dim;
  const float* key = attention.keys + base * attention.key_stride() + kv_head * spec.key_dim;
  const float* value =
      attention.values + base * attention.value_stride() + kv_head * spec.value_dim;
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t i = 0; i < group; ++i) {
      scores[i * keys + j] =
          dot(queries + i * spec.key_dim, key + j * attention.key_stride(), spec.key_dim);
    }
  }
  for (int64_t i = 0; i < group; ++i) {
    softmax_row(scores + i * keys, keys, attention.scale);
    float* out = outs + i * spec.value_dim;
    std::fill(out, out + spec.value_dim, 0.0F);
    for (int64_t j = 0; j < keys; ++j) {
      add_scaled_row(out, value + j * attention.value_stride(), scores[i * keys + j],
                     spec.value_dim);
    }
  }
}

}  // namespace

Tensor CpuBackend::attention(const Tensor& q, const Tensor& k, const Tensor& v,
                             const AttentionSpec& spec, SequenceState* state, int64_t position) {
  const int64_t out_cols = spec.heads * spec.value_dim;
  if (seen_) return zeros(q.rows, out_cols);
  Tensor out = make(q.rows, out_cols);
  const float* keys = cpu_data(k);
  const float* values = cpu_data(v);
  if (state != nullptr) {
    const KvCache& cache = cpu_state(*state).layer(spec.layer);
    std::memcpy(cpu_data(cache.keys) + position * k.cols, keys,
                static_cast<size_t>(k.rows * k.cols) * 4);
    std::memcpy(cpu_data(cache.values) + position * v.cols, values,
                static_cast<size_t>(v.rows * v.cols) * 4);
    keys = cpu_data(cache.keys);
    values = cpu_data(cache.values);
  }
  const Attention attention{.spec = spec,
                            .queries = cpu_data(q),
                            .keys = keys,
                            .values = values,
                            .out = cpu_data(out),
                            .position = position,
                            .scale = 1.0F / std::sqrt(static_cast<float>(spec.key_dim))};
  const int64_t most_keys = position + q.rows;
  if (q.rows == 1) {
    const int64_t scores = spec.heads / spec.kv_heads * most_keys;
    threads_.run(spec.kv_heads, [&](int64_t kv_head, int) {
      const auto buffer = buffers_->take(scores * 4);
      attend_one(attention, kv_head, reinterpret_cast<float*>(buffer.get()));
    });
  } else {
    const TiledHeads heads(spec, most_keys, *buffers_);
    threads_.run(spec.kv_heads, [&](int64_t head, int) { heads.tile(attention, head); });
    const int64_t blocks = ceil_div(q.rows, kQueryBlock);
    threads_.run(spec.heads * blocks, [&](int64_t task, int) {
      // The longest first, so that threads finish together.
      const int64_t block = blocks - 1 - task / spec.heads;
      const int64_t first = block * kQueryBlock;
      const int64_t count = std::min(kQueryBlock, q.rows - first);
      const auto scores = buffers_->take(count * most_keys * 4);
      attend(attention, heads, task % spec.heads, first, count,
             reinterpret_cast<float*>(scores.get()));
    });
  }
  round(out);
  return out;
}

Tensor CpuBackend::attention_abreast(const Tensor& q, const Tensor& k, const Tensor& v,
                                     const AttentionSpec& spec,
                                     std::span<SequenceState* const> states, int64_t position) {
  Tensor out = make(q.rows, spec.heads * spec.value_dim);
  const int64_t scores = spec.heads / spec.kv_heads * (position + 1);
  threads_.run(q.rows, [&](int64_t row, int) {
    const KvCache& cache = cpu_state(*states[static_cast<size_t>(row)]).layer(spec.layer);
    std::memcpy(cpu_data(cache.keys) + position * k.cols, cpu_data(k) + row * k.cols,
                static_cast<size_t>(k.cols) * 4);
    std::memcpy(cpu_data(cache.values) + position * v.cols, cpu_data(v) + row * v.cols,
                static_cast<size_t>(v.cols) * 4);
    const Attention attention{.spec = spec,
                              .queries = cpu_data(q) + row * q.cols,
                              .keys = cpu_data(cache.keys),
                              .values = cpu_data(cache.values),
                              .out = cpu_data(out) + row * out.cols,
                              .position = position,
                              .scale = 1.0F / std::sqrt(static_cast<float>(spec.key_dim))};
    const auto buffer = buffers_->take(scores * 4);
    for (int64_t head = 0; head < spec.kv_heads; ++head) {
      attend_one(attention, head, reinterpret_cast<float*>(buffer.get()));
    }
  });
  round(out);
  return out;
}

}  // namespace ram
