// Causal attention over blocks of queries: scores by a product, softmax, and the mix of values by
// another product, one key-value head and one block of queries to a task.
#include <algorithm>
#include <cmath>
#include <cstring>

#include "cpu_backend.h"
#include "kernels.h"

namespace ram {
namespace {

constexpr int64_t kQueryBlock = 128;

/// One sequence's arrays, rows of all heads side by side.
struct Attention {
  const AttentionSpec& spec;
  const float* queries;  // the first row at `position`
  const float* keys;     // from position 0
  const float* values;
  int64_t value_stride;       // from one position to the next
  int64_t value_head_stride;  // from one head to the next
  float* out;
  int64_t position;
  float scale;

  int64_t query_stride() const { return spec.heads * spec.head_dim; }
  int64_t key_stride() const { return spec.kv_heads * spec.head_dim; }
  const float* values_from(int64_t key, int64_t kv_head) const {
    return values + key * value_stride + kv_head * value_head_stride;
  }
  int64_t first_key(int64_t query) const {
    return spec.window == 0 ? 0 : std::max<int64_t>(0, query - spec.window + 1);
  }
};

/// Softmax over the keys that a query sees, of scores whose first stands for key `base`; zero for
/// the others.
void soften(const Attention& attention, int64_t query, int64_t base, float* scores, int64_t count) {
  const int64_t from = attention.first_key(query) - base;
  const int64_t to = query + 1 - base;
  std::fill(scores, scores + from, 0.0F);
  softmax_row(scores + from, to - from);
  std::fill(scores + to, scores + count, 0.0F);
}

/// Queries [first, first + count) of one head.
void attend(const Attention& attention, int64_t head, int64_t first, int64_t count, float* scores) {
  const AttentionSpec& spec = attention.spec;
  const int64_t kv_head = head / (spec.heads / spec.kv_heads);
  const int64_t base = attention.first_key(attention.position + first);
  const int64_t keys = attention.position + first + count - base;
  const int64_t at_query = first * attention.query_stride() + head * spec.head_dim;
  const int64_t at_key = base * attention.key_stride() + kv_head * spec.head_dim;
  multiply_small({.transposed = true,
                  .m = count,
                  .n = keys,
                  .k = spec.head_dim,
                  .alpha = attention.scale,
                  .a = attention.queries + at_query,
                  .a_stride = attention.query_stride(),
                  .b = attention.keys + at_key,
                  .b_stride = attention.key_stride(),
                  .c = scores,
                  .c_stride = keys});
  for (int64_t i = 0; i < count; ++i) {
    soften(attention, attention.position + first + i, base, scores + i * keys, keys);
  }
  multiply_small({.m = count,
                  .n = spec.head_dim,
                  .k = keys,
                  .a = scores,
                  .a_stride = keys,
                  .b = attention.values_from(base, kv_head),
                  .b_stride = attention.value_stride,
                  .c = attention.out + at_query,
                  .c_stride = attention.query_stride()});
}

/// One query: the heads that share keys are the rows of the products.
void attend_one(const Attention& attention, int64_t kv_head, float* scores) {
  const AttentionSpec& spec = attention.spec;
  const int64_t group = spec.heads / spec.kv_heads;
  const int64_t base = attention.first_key(attention.position);
  const int64_t keys = attention.position + 1 - base;
  const int64_t at_query = kv_head * group * spec.head_dim;
  const float* key = attention.keys + base * attention.key_stride() + kv_head * spec.head_dim;
  const float* value = attention.values_from(base, kv_head);
  for (int64_t j = 0; j < keys; ++j) {
    for (int64_t i = 0; i < group; ++i) {
      const float* query = attention.queries + at_query + i * spec.head_dim;
      scores[i * keys + j] =
          attention.scale * dot(query, key + j * attention.key_stride(), spec.head_dim);
    }
  }
  for (int64_t i = 0; i < group; ++i) {
    softmax_row(scores + i * keys, keys);
    float* out = attention.out + at_query + i * spec.head_dim;
    std::fill(out, out + spec.head_dim, 0.0F);
    for (int64_t j = 0; j < keys; ++j) {
      add_scaled_row(out, value + j * attention.value_stride, scores[i * keys + j], spec.head_dim);
    }
  }
}

}  // namespace

Tensor CpuBackend::attention(const Tensor& q, const Tensor& k, const Tensor& v,
                             const AttentionSpec& spec, KvCache* cache, int64_t position) {
  Tensor out = make(q.rows, q.cols);
  const float* keys = cpu_data(k);
  const float* values = cpu_data(v);
  if (cache != nullptr) {
    const int64_t at = position * k.cols;
    std::memcpy(cpu_data(cache->keys) + at, keys, static_cast<size_t>(k.rows * k.cols) * 4);
    std::memcpy(cpu_data(cache->values) + at, values, static_cast<size_t>(v.rows * v.cols) * 4);
    keys = cpu_data(cache->keys);
    values = cpu_data(cache->values);
  }
  Attention attention{.spec = spec,
                      .queries = cpu_data(q),
                      .keys = keys,
                      .values = values,
                      .value_stride = v.cols,
                      .value_head_stride = spec.head_dim,
                      .out = cpu_data(out),
                      .position = position,
                      .scale = 1.0F / std::sqrt(static_cast<float>(spec.head_dim))};
  const int64_t most_keys = position + q.rows;
  if (q.rows == 1) {
    const int64_t scores = spec.heads / spec.kv_heads * most_keys;
    use_.threads.run(spec.kv_heads, [&](int64_t kv_head, int) {
      const auto buffer = use_.buffers->take(scores * 4);
      attend_one(attention, kv_head, reinterpret_cast<float*>(buffer.get()));
    });
  } else {
    // Each head's values without gaps: products of rows that lie apart run at two thirds.
    const auto buffer = use_.buffers->take(most_keys * v.cols * 4);
    auto* dense = reinterpret_cast<float*>(buffer.get());
    for_rows(most_keys, v.cols, [&](int64_t first, int64_t count, int) {
      for (int64_t key = first; key < first + count; ++key) {
        for (int64_t head = 0; head < spec.kv_heads; ++head) {
          std::copy_n(attention.values_from(key, head), spec.head_dim,
                      dense + (head * most_keys + key) * spec.head_dim);
        }
      }
    });
    attention.values = dense;
    attention.value_stride = spec.head_dim;
    attention.value_head_stride = most_keys * spec.head_dim;
    const int64_t blocks = ceil_div(q.rows, kQueryBlock);
    use_.threads.run(spec.heads * blocks, [&](int64_t task, int) {
      // The longest first, so that threads end together.
      const int64_t block = blocks - 1 - task / spec.heads;
      const int64_t first = block * kQueryBlock;
      const int64_t count = std::min(kQueryBlock, q.rows - first);
      const auto scores = use_.buffers->take(count * most_keys * 4);
      attend(attention, task % spec.heads, first, count, reinterpret_cast<float*>(scores.get()));
    });
  }
  round(out);
  return out;
}

}  // namespace ram
