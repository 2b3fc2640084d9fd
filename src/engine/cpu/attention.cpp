// Causal attention over blocks of queries: scores by a product, softmax, and the weighted sum of
// values by another product; a task is one head and one block of queries. Its derivative is made of
// products in the same way; a task is one head of keys.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <vector>

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
  int64_t keys_of_one() const { return position + 1 - first_key(position); }
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

/// Rows of a product with keys or values: `all` of them, of `dim` numbers each, of which those from
/// `base` on, a multiple of kTileDepth, take part.
struct OverKeys {
  int64_t all;
  int64_t base;
  int64_t keys;

  /// y [count, keys] = x T^T, T [all, dim].
  void to_keys(const float* x, int64_t stride, int64_t count, const float* tiled, int64_t dim,
               float* y) const {
    multiply_tiled({.x = x,
                    .x_stride = stride,
                    .rows = count,
                    .tiled = tiled,
                    .tiled_n = all,
                    .tiled_k = dim,
                    .first_row = base,
                    .n = keys,
                    .k = dim,
                    .y = y,
                    .y_stride = keys});
  }
  /// y [count, dim] = w T, w [count, keys]. @param tiled T^T, [dim, all]
  void from_keys(const float* w, int64_t count, const float* tiled, int64_t dim, float* y,
                 int64_t stride) const {
    multiply_tiled({.x = w,
                    .x_stride = keys,
                    .rows = count,
                    .tiled = tiled,
                    .tiled_n = dim,
                    .tiled_k = all,
                    .n = dim,
                    .first_col = base,
                    .k = keys,
                    .y = y,
                    .y_stride = stride});
  }
};

/// Queries [first, first + count) of one head.
void attend(const Attention& attention, const TiledHeads& heads, int64_t head, int64_t first,
            int64_t count, float* scores) {
  const AttentionSpec& spec = attention.spec;
  const int64_t kv_head = head / (spec.heads / spec.kv_heads);
  const int64_t base = attention.first_key(attention.position + first) / kTileDepth * kTileDepth;
  const int64_t keys = attention.position + first + count - base;
  const OverKeys over{.all = heads.count, .base = base, .keys = keys};
  over.to_keys(attention.queries + first * attention.query_stride() + head * spec.key_dim,
               attention.query_stride(), count, heads.keys_of(kv_head), spec.key_dim, scores);
  for (int64_t i = 0; i < count; ++i) {
    soften(attention, attention.position + first + i, base, scores + i * keys, keys);
  }
  over.from_keys(scores, count, heads.values_of(kv_head), spec.value_dim,
                 attention.out + first * attention.out_stride() + head * spec.value_dim,
                 attention.out_stride());
}

/// out [cols, rows] = the transposed x [rows, cols], rows `stride` apart.
void transpose(const float* x, int64_t stride, int64_t rows, int64_t cols, float* out) {
  for (int64_t i = 0; i < rows; ++i) {
    for (int64_t j = 0; j < cols; ++j) out[j * rows + i] = x[i * stride + j];
  }
}

/// The gradients of one head of keys and values, and of the heads of queries that share it.
///
/// With S = scale q k^T, P = softmax(S) and y = P v: dv = P^T dy, dP = dy v^T,
/// dS = scale P (dP - rowsum(P dP)), dq = dS k and dk = dS^T q. Those of keys and values are summed
/// over blocks of queries, in order, transposed: the products' tiles of P^T are copies of P.
class HeadGradients {
 public:
  HeadGradients(const Attention& attention, int64_t tokens, BufferPool& buffers)
      : attention_(attention), tokens_(tokens), buffers_(buffers) {
    const AttentionSpec& spec = attention.spec;
    tiled_keys_ = floats(tiled_floats(tokens, spec.key_dim));
    keys_across_ = floats(tiled_floats(spec.key_dim, tokens));
    tiled_values_ = floats(tiled_floats(tokens, spec.value_dim));
    p_ = floats(kQueryBlock * tokens);
    ds_ = floats(kQueryBlock * tokens);
    across_ = floats(tiled_floats(tokens, kQueryBlock));
    const int64_t dim = std::max(spec.key_dim, spec.value_dim);
    block_ = floats(dim * kQueryBlock);
    product_ = floats(dim * tokens);
    dkeys_ = floats(spec.key_dim * tokens);
    dvalues_ = floats(spec.value_dim * tokens);
  }

  /// @param dy of attention's result. @param dq, dk, dv rows of all heads side by side.
  void run(int64_t kv_head, const float* dy, float* dq, float* dk, float* dv) {
    const AttentionSpec& spec = attention_.spec;
    const int64_t key_stride = attention_.key_stride();
    const int64_t value_stride = attention_.value_stride();
    const float* keys = attention_.keys + kv_head * spec.key_dim;
    tile_weights(keys, key_stride, 1, tokens_, spec.key_dim, tiled_keys_);
    tile_weights(keys, 1, key_stride, spec.key_dim, tokens_, keys_across_);
    tile_weights(attention_.values + kv_head * spec.value_dim, value_stride, 1, tokens_,
                 spec.value_dim, tiled_values_);
    std::fill_n(dkeys_, spec.key_dim * tokens_, 0.0F);
    std::fill_n(dvalues_, spec.value_dim * tokens_, 0.0F);
    const int64_t group = spec.heads / spec.kv_heads;
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      for (int64_t first = 0; first < tokens_; first += kQueryBlock) {
        add_block(head, first, std::min(kQueryBlock, tokens_ - first), dy, dq);
      }
    }
    for (int64_t i = 0; i < tokens_; ++i) {
      float* key = dk + i * key_stride + kv_head * spec.key_dim;
      float* value = dv + i * value_stride + kv_head * spec.value_dim;
      for (int64_t j = 0; j < spec.key_dim; ++j) key[j] = dkeys_[j * tokens_ + i];
      for (int64_t j = 0; j < spec.value_dim; ++j) value[j] = dvalues_[j * tokens_ + i];
    }
  }

 private:
  float* floats(int64_t count) {
    return reinterpret_cast<float*>(taken_.emplace_back(buffers_.take(count * 4)).get());
  }

  /// Queries [first, first + count) of one head.
  void add_block(int64_t head, int64_t first, int64_t count, const float* dy, float* dq) {
    const AttentionSpec& spec = attention_.spec;
    const int64_t base = attention_.first_key(first) / kTileDepth * kTileDepth;
    const int64_t keys = first + count - base;
    const int64_t query_stride = attention_.query_stride();
    const int64_t out_stride = attention_.out_stride();
    const float* queries = attention_.queries + first * query_stride + head * spec.key_dim;
    const float* outs = dy + first * out_stride + head * spec.value_dim;
    const OverKeys over{.all = tokens_, .base = base, .keys = keys};
    over.to_keys(queries, query_stride, count, tiled_keys_, spec.key_dim, p_);
    over.to_keys(outs, out_stride, count, tiled_values_, spec.value_dim, ds_);
    for (int64_t i = 0; i < count; ++i) {
      float* p = p_ + i * keys;
      float* ds = ds_ + i * keys;
      soften(attention_, first + i, base, p, keys);
      const auto mean = static_cast<float>(dot_in_double(p, ds, keys));
      for (int64_t j = 0; j < keys; ++j) ds[j] = attention_.scale * p[j] * (ds[j] - mean);
    }
    over.from_keys(ds_, count, keys_across_, spec.key_dim,
                   dq + first * query_stride + head * spec.key_dim, query_stride);
    add_over_queries(outs, out_stride, spec.value_dim, p_, count, keys, dvalues_ + base);
    add_over_queries(queries, query_stride, spec.key_dim, ds_, count, keys, dkeys_ + base);
  }

  /// sum [dim, keys] += x^T w, with x [count, dim] and w [count, keys].
  void add_over_queries(const float* x, int64_t stride, int64_t dim, const float* w, int64_t count,
                        int64_t keys, float* sum) {
    transpose(x, stride, count, dim, block_);
    tile_weights(w, 1, keys, keys, count, across_);
    multiply_tiled({.x = block_,
                    .x_stride = count,
                    .rows = dim,
                    .tiled = across_,
                    .tiled_n = keys,
                    .tiled_k = count,
                    .n = keys,
                    .k = count,
                    .y = product_,
                    .y_stride = keys});
    for (int64_t j = 0; j < dim; ++j) {
      add_scaled_row(sum + j * tokens_, product_ + j * keys, 1.0F, keys);
    }
  }

  const Attention& attention_;
  int64_t tokens_;
  BufferPool& buffers_;
  std::vector<std::shared_ptr<std::byte>> taken_;
  float* tiled_keys_;
  float* keys_across_;  // tiles of the transposed keys
  float* tiled_values_;
  float* p_;        // [queries of a block, keys]
  float* ds_;       // the same
  float* across_;   // tiles of either, transposed
  float* block_;    // a block of queries or of dy, transposed
  float* product_;  // [dim, keys]
  float* dkeys_;    // [key_dim, tokens]
  float* dvalues_;  // [value_dim, tokens]
};

// Keys that all heads of a query look at before the next: they stay in the cache.
constexpr int64_t kKeysOfOne = 32;

/// One query, all heads that share heads [first_kv, last_kv) of keys.
/// @param scores [those heads, keys of the query]
void attend_one(const Attention& attention, int64_t first_kv, int64_t last_kv, float* scores) {
  const AttentionSpec& spec = attention.spec;
  const int64_t group = spec.heads / spec.kv_heads;
  const int64_t base = attention.first_key(attention.position);
  const int64_t keys = attention.keys_of_one();
  const int64_t first_head = first_kv * group;
  const int64_t last_head = last_kv * group;
  const auto for_heads_and_keys = [&](const auto& visit) {
    for (int64_t at = 0; at < keys; at += kKeysOfOne) {
      const int64_t count = std::min(kKeysOfOne, keys - at);
      for (int64_t head = first_head; head < last_head; ++head) {
        visit(head, head / group, at, count, scores + (head - first_head) * keys + at);
      }
    }
  };
  for_heads_and_keys([&](int64_t head, int64_t kv_head, int64_t at, int64_t count, float* to) {
    dot_rows(attention.queries + head * spec.key_dim,
             attention.keys + (base + at) * attention.key_stride() + kv_head * spec.key_dim,
             attention.key_stride(), count, spec.key_dim, to);
  });
  for (int64_t head = first_head; head < last_head; ++head) {
    softmax_row(scores + (head - first_head) * keys, keys, attention.scale);
  }
  std::fill_n(attention.out + first_head * spec.value_dim,
              (last_head - first_head) * spec.value_dim, 0.0F);
  for_heads_and_keys([&](int64_t head, int64_t kv_head, int64_t at, int64_t count, float* from) {
    add_weighted_rows(
        from, attention.values + (base + at) * attention.value_stride() + kv_head * spec.value_dim,
        attention.value_stride(), count, spec.value_dim, attention.out + head * spec.value_dim);
  });
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
    threads_.run(spec.kv_heads, [&](int64_t kv_head, int) {
      const auto buffer = buffers_->take(spec.heads / spec.kv_heads * attention.keys_of_one() * 4);
      attend_one(attention, kv_head, kv_head + 1, reinterpret_cast<float*>(buffer.get()));
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
    const auto buffer = buffers_->take(spec.heads * attention.keys_of_one() * 4);
    attend_one(attention, 0, spec.kv_heads, reinterpret_cast<float*>(buffer.get()));
  });
  round(out);
  return out;
}

AttentionGradients CpuBackend::attention_back(const Tensor& q, const Tensor& k, const Tensor& v,
                                              const Tensor& dy, const AttentionSpec& spec) {
  AttentionGradients gradients{
      .q = make(q.rows, q.cols), .k = make(k.rows, k.cols), .v = make(v.rows, v.cols)};
  const Attention attention{.spec = spec,
                            .queries = cpu_data(q),
                            .keys = cpu_data(k),
                            .values = cpu_data(v),
                            .out = nullptr,
                            .position = 0,
                            .scale = 1.0F / std::sqrt(static_cast<float>(spec.key_dim))};
  threads_.run(spec.kv_heads, [&](int64_t kv_head, int) {
    HeadGradients(attention, q.rows, *buffers_)
        .run(kv_head, cpu_data(dy), cpu_data(gradients.q), cpu_data(gradients.k),
             cpu_data(gradients.v));
  });
  return gradients;
}

}  // namespace ram
