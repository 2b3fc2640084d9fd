#include "cpu/cpu_backend.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ram/error.h"

#include "cpu/kernels.h"

namespace ram {
namespace {

// Bytes of stored weights that one thread multiplies at a time.
constexpr int64_t kStoredBlockBytes = 128 << 10;

struct CpuStorage : Storage {
  float* data = nullptr;
  std::shared_ptr<std::byte> owner;  // null where `matrix` owns the memory
  Matrix matrix;                     // as uploaded
};

}  // namespace

float* cpu_data(const Tensor& tensor) {
  return static_cast<CpuStorage*>(tensor.storage.get())->data;
}

std::unique_ptr<Backend> make_cpu_backend(const BackendResources& resources) {
  return std::make_unique<CpuBackend>(resources);
}

CpuBackend::CpuBackend(const BackendResources& resources)
    : checkpoint_(resources.checkpoint),
      options_(resources.options),
      precision_(options_.precision),
      threads_(resources.threads),
      buffers_(std::make_shared<BufferPool>()),
      products_(precision_),
      rope_(checkpoint_.config),
      weights_(checkpoint_, precision_, products_, buffers_, threads_,
               kept_weights_at_most(options_)),
      memory_(checkpoint_, options_, weights_) {}

std::unique_ptr<SequenceState> CpuBackend::make_state() {
  return std::make_unique<CpuSequenceState>(checkpoint_.config);
}

void CpuBackend::grow(SequenceState& state, int64_t tokens, int64_t held) {
  for (KvCache& layer : cpu_state(state).layers()) {
    for (Tensor* kept : {&layer.keys, &layer.values}) {
      const Tensor larger = zeros(tokens, kept->cols);
      if (held > 0) {
        std::memcpy(cpu_data(larger), cpu_data(*kept), static_cast<size_t>(held * kept->cols) * 4);
      }
      *kept = larger;
    }
  }
}

void CpuBackend::begin_pass(const PassRows& rows, int64_t positions) {
  rope_.ensure(positions);
  if (rows.most == idle_length_) return;  // decoding calls this for every token
  idle_length_ = rows.most;
  buffers_->keep_idle(options_.threads * memory_.scratch(rows.most).idle_bytes);
}

void CpuBackend::acquire(std::span<const WeightSlice> slices, const PassRows& rows) {
  if (has_few(rows)) weights_.acquire(slices, Form::kStored);
  if (has_many(rows)) weights_.acquire(slices, Form::kPacked);
}

void CpuBackend::prefetch(std::span<const WeightSlice> slices, const PassRows& rows) const {
  if (!weights_.keeps(has_few(rows) ? Form::kStored : Form::kPacked)) weights_.prefetch(slices);
}

void CpuBackend::watch(const InputObserver* observe, int64_t row, std::vector<int> until) {
  observe_ = observe != nullptr && *observe ? observe : nullptr;
  row_ = row;
  until_ = std::move(until);
  seen_ = false;
}

Tensor CpuBackend::make(int64_t rows, int64_t cols) {
  auto storage = std::make_shared<CpuStorage>();
  storage->owner = buffers_->take(padded_rows(rows) * cols * 4);
  storage->data = reinterpret_cast<float*>(storage->owner.get());
  return {.rows = rows, .cols = cols, .storage = std::move(storage)};
}

Tensor CpuBackend::upload(Matrix values) {
  auto storage = std::make_shared<CpuStorage>();
  Tensor x{.rows = values.rows(), .cols = values.cols(), .storage = storage};
  storage->data = values.data();
  storage->matrix = std::move(values);
  return x;
}

Matrix CpuBackend::to_matrix(Tensor x) {
  auto& storage = static_cast<CpuStorage&>(*x.storage);
  if (storage.owner == nullptr && x.storage.use_count() == 1) return std::move(storage.matrix);
  Matrix values(x.rows, x.cols);
  std::memcpy(values.data(), storage.data, static_cast<size_t>(x.rows * x.cols) * 4);
  return values;
}

std::span<const float> CpuBackend::host(const Tensor& x) {
  return {cpu_data(x), static_cast<size_t>(x.rows * x.cols)};
}

Tensor CpuBackend::copy_rows(const Tensor& x, int64_t first, int64_t count) {
  Tensor y = make(count, x.cols);
  std::memcpy(cpu_data(y), cpu_data(x) + first * x.cols, static_cast<size_t>(count * x.cols) * 4);
  return y;
}

int64_t CpuBackend::find_non_finite(const Tensor& x) {
  return find_non_finite_float(cpu_data(x), x.rows * x.cols);
}

Tensor CpuBackend::zeros(int64_t rows, int64_t cols) {
  Tensor x = make(rows, cols);
  clear(x);
  return x;
}

void CpuBackend::clear(const Tensor& x) {
  std::memset(cpu_data(x), 0, static_cast<size_t>(x.rows * x.cols) * 4);
}

void CpuBackend::round(const Tensor& x) {
  if (precision_ == Precision::kBF16) round_row_to_bf16(cpu_data(x), x.rows * x.cols);
}

Tensor CpuBackend::embed(int unit, std::span<const int32_t> ids) {
  const int64_t cols = weights_.packed(unit, 0).cols;
  Tensor x = make(std::ssize(ids), cols);
  float* out = cpu_data(x);
  for_rows(x.rows, cols, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      weights_.read_rows(unit, 0, ids[static_cast<size_t>(i)], 1, out + i * cols);
    }
  });
  return x;
}

Tensor CpuBackend::linear(const Tensor& x, int unit) {
  Tensor y = logits(x, unit);
  round(y);
  return y;
}

Tensor CpuBackend::logits(const Tensor& x, int unit) {
  Tensor y = make(x.rows, weights_.packed(unit, 0).rows);
  const Block block{.part = 0, .begin = 0, .count = x.rows};
  multiply(x, unit, {&block, 1}, form_for(x.rows), y);
  return y;
}

Tensor CpuBackend::grouped_linear(const Tensor& x, int unit, const Routing& routing,
                                  ExpertRange range) {
  Tensor y = make(x.rows, weights_.packed(unit, range.first).rows);
  multiply(x, unit, expert_blocks(cpu_routing(routing), range), form_for(routing.tokens), y);
  round(y);
  return y;
}

Tensor CpuBackend::gated_linear(const Tensor& x, int gate, int up) {
  const Block block{.part = 0, .begin = 0, .count = x.rows};
  return gated(x, gate, up, {&block, 1}, form_for(x.rows));
}

Tensor CpuBackend::grouped_gated_linear(const Tensor& x, int gate, int up, const Routing& routing,
                                        ExpertRange range) {
  return gated(x, gate, up, expert_blocks(cpu_routing(routing), range), form_for(routing.tokens));
}

std::vector<CpuBackend::Block> CpuBackend::expert_blocks(const CpuRouting& routing,
                                                         ExpertRange range) {
  const int64_t base = routing.segments.at(static_cast<size_t>(range.first)).begin;
  std::vector<Block> blocks;
  for (int expert = range.first; expert < range.last; ++expert) {
    const auto& segment = routing.segments.at(static_cast<size_t>(expert));
    if (segment.count == 0) continue;
    blocks.push_back({.part = expert,
                      .begin = segment.begin - base,
                      .count = segment.count,
                      .positions = routing.token.data() + segment.begin});
  }
  return blocks;
}

Tensor CpuBackend::gated(const Tensor& x, int gate, int up, std::span<const Block> blocks,
                         Form form) {
  Tensor y = make(x.rows, weights_.packed(gate, 0).rows);
  const bool biased = !weights_.bias(gate).empty() || !weights_.bias(up).empty();
  if (form == Form::kPacked && !biased) {
    multiply_gated(x, gate, up, blocks, y);
    return y;
  }
  const Tensor other = make(y.rows, y.cols);
  multiply(x, gate, blocks, form, y);
  multiply(x, up, blocks, form, other);
  round(y);
  round(other);
  for_rows(y.rows, y.cols, [&](int64_t first, int64_t count, int) {
    gate_row(cpu_data(y) + first * y.cols, cpu_data(other) + first * y.cols, count * y.cols);
  });
  round(y);
  return y;
}

void CpuBackend::multiply(const Tensor& x, int unit, std::span<const Block> blocks, Form form,
                          const Tensor& y) {
  if (!show(x, unit, blocks)) {
    clear(y);
    return;
  }
  if (form == Form::kStored) {
    multiply_stored(x, unit, blocks, y);
  } else {
    const std::shared_ptr<std::byte> narrowed = narrow(x);
    const std::vector<Product> products = packed_products(x, narrowed.get(), unit, blocks, y);
    threads_.run(std::ssize(products),
                 [&](int64_t i, int) { products_.multiply(products[static_cast<size_t>(i)]); });
  }
  const std::span<const float> bias = weights_.bias(unit);
  if (bias.empty()) return;
  for_rows(y.rows, y.cols, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      add_scaled_row(cpu_data(y) + i * y.cols, bias.data(), 1.0F, y.cols);
    }
  });
}

bool CpuBackend::show(const Tensor& x, int unit, std::span<const Block> blocks) {
  if (observe_ == nullptr || seen_) return !seen_;
  for (const Block& block : blocks) {
    (*observe_)({.unit = unit,
                 .part = block.part,
                 .row = row_,
                 .inputs = cpu_data(x) + block.begin * x.cols,
                 .tokens = block.count,
                 .cols = x.cols,
                 .positions = block.positions});
  }
  seen_ = std::erase(until_, unit) > 0 && until_.empty();
  return !seen_;
}

std::shared_ptr<std::byte> CpuBackend::narrow(const Tensor& x) {
  if (!products_.wants_bf16()) return nullptr;
  auto narrowed = buffers_->take(padded_rows(x.rows) * x.cols * 2);
  auto* halves = reinterpret_cast<uint16_t*>(narrowed.get());
  for_rows(x.rows, x.cols, [&](int64_t first, int64_t count, int) {
    narrow_row_to_bf16(cpu_data(x) + first * x.cols, count * x.cols, halves + first * x.cols);
  });
  return narrowed;
}

std::vector<Product> CpuBackend::packed_products(const Tensor& x, const std::byte* narrowed,
                                                 int unit, std::span<const Block> blocks,
                                                 const Tensor& y) const {
  const auto* halves = reinterpret_cast<const uint16_t*>(narrowed);
  std::vector<Product> products;
  for (const Block& block : blocks) {
    const PackedMatrix& matrix = weights_.packed(unit, block.part);
    for (int64_t panel = 0; panel < std::ssize(matrix.panels); ++panel) {
      for (int64_t done = 0; done < block.count; done += kRowBlock) {
        const int64_t row = block.begin + done;
        products.push_back({.x = cpu_data(x) + row * x.cols,
                            .x_bf16 = halves == nullptr ? nullptr : halves + row * x.cols,
                            .rows = std::min(kRowBlock, block.count - done),
                            .packed = matrix.panels[static_cast<size_t>(panel)].get(),
                            .n = matrix.rows_of(panel),
                            .k = x.cols,
                            .y = cpu_data(y) + row * y.cols + panel * matrix.panel_rows,
                            .y_stride = y.cols});
      }
    }
  }
  return products;
}

void CpuBackend::multiply_gated(const Tensor& x, int gate, int up, std::span<const Block> blocks,
                                const Tensor& y) {
  const bool gate_wanted = show(x, gate, blocks);
  if (!show(x, up, blocks) || !gate_wanted) {
    clear(y);
    return;
  }
  const std::shared_ptr<std::byte> narrowed = narrow(x);
  const std::vector<Product> gates = packed_products(x, narrowed.get(), gate, blocks, y);
  const std::vector<Product> ups = packed_products(x, narrowed.get(), up, blocks, y);
  RAM_CHECK(gates.size() == ups.size());
  const bool rounded = precision_ == Precision::kBF16;
  threads_.run(std::ssize(gates), [&](int64_t i, int) {
    Product product = gates[static_cast<size_t>(i)];
    float* out = product.y;
    const int64_t n = product.n;
    const int64_t count = padded_rows(product.rows) * n;
    const auto buffer = buffers_->take(2 * count * 4);
    auto* gated = reinterpret_cast<float*>(buffer.get());
    float* other = gated + count;
    product.y = gated;
    product.y_stride = n;
    products_.multiply(product);
    product.packed = ups[static_cast<size_t>(i)].packed;
    product.y = other;
    products_.multiply(product);
    for (int64_t row = 0; row < product.rows; ++row) {
      float* values = gated + row * n;
      if (rounded) {
        round_row_to_bf16(values, n);
        round_row_to_bf16(other + row * n, n);
      }
      gate_row(values, other + row * n, n);
      if (rounded) round_row_to_bf16(values, n);
      std::memcpy(out + row * y.cols, values, static_cast<size_t>(n) * 4);
    }
  });
}

void CpuBackend::multiply_stored(const Tensor& x, int unit, std::span<const Block> blocks,
                                 const Tensor& y) {
  struct Task {
    const StoredMatrix* matrix;
    const float* x;
    int64_t first;
    int64_t count;
    float* y;
  };
  std::vector<Task> tasks;
  std::shared_ptr<std::byte> arranged;
  const float* inputs = cpu_data(x);
  int64_t stride = x.cols;
  for (const Block& block : blocks) {
    const StoredMatrix& matrix = weights_.stored(unit, block.part);
    if (matrix.format && !arranged) {
      stride = arranged_floats(*matrix.format, x.cols);
      arranged = buffers_->take(x.rows * stride * 4);
      auto* out = reinterpret_cast<float*>(arranged.get());
      for (const Block& one : blocks) {
        for (int64_t i = one.begin; i < one.begin + one.count; ++i) {
          arrange_input(*matrix.format, x.cols, cpu_data(x) + i * x.cols, out + i * stride);
        }
      }
      inputs = out;
    }
    const int64_t row_bytes =
        matrix.cols * (matrix.format ? matrix.format->bits : dtype_bits(matrix.dtype)) / 8;
    const int64_t step = std::max<int64_t>(4, kStoredBlockBytes / std::max<int64_t>(1, row_bytes));
    for (int64_t first = 0; first < matrix.rows; first += step) {
      for (int64_t row = block.begin; row < block.begin + block.count; ++row) {
        tasks.push_back({.matrix = &matrix,
                         .x = inputs + row * stride,
                         .first = first,
                         .count = std::min(step, matrix.rows - first),
                         .y = cpu_data(y) + row * y.cols + first});
      }
    }
  }
  threads_.run(std::ssize(tasks), [&](int64_t i, int) {
    const Task& task = tasks[static_cast<size_t>(i)];
    stored_matvec(*task.matrix, task.x, task.first, task.count, task.y);
  });
}

Tensor CpuBackend::logits_of(const Tensor& x, int unit, int64_t first_id, int64_t last_id) {
  const PackedMatrix& matrix = weights_.packed(unit, 0);
  Tensor y = make(x.rows, last_id - first_id);
  std::shared_ptr<std::byte> narrowed;
  if (products_.wants_bf16()) {
    narrowed = buffers_->take(padded_rows(x.rows) * x.cols * 2);
    narrow_row_to_bf16(cpu_data(x), x.rows * x.cols, reinterpret_cast<uint16_t*>(narrowed.get()));
  }
  for (int64_t id = first_id; id < last_id; id += matrix.panel_rows) {
    const int64_t panel = id / matrix.panel_rows;
    for (int64_t done = 0; done < x.rows; done += kRowBlock) {
      products_.multiply(
          {.x = cpu_data(x) + done * x.cols,
           .x_bf16 = narrowed ? reinterpret_cast<const uint16_t*>(narrowed.get()) + done * x.cols
                              : nullptr,
           .rows = std::min(kRowBlock, x.rows - done),
           .packed = matrix.panels.at(static_cast<size_t>(panel)).get(),
           .n = matrix.rows_of(panel),
           .k = x.cols,
           .y = cpu_data(y) + done * y.cols + (id - first_id),
           .y_stride = y.cols});
    }
  }
  return y;
}

Tensor CpuBackend::norm_rows(const Matrix& hidden, int64_t first, int64_t count, int unit,
                             double epsilon) {
  Tensor y = make(count, hidden.cols());
  float* out = cpu_data(y);
  for (int64_t i = 0; i < count; ++i) {
    rms_norm_row(hidden.row(first + i), weights_.vector(unit).data(), y.cols,
                 static_cast<float>(epsilon), out + i * y.cols);
  }
  round(y);
  return y;
}

Tensor CpuBackend::rms_norm(const Tensor& x, int unit, double epsilon) {
  const std::span<const float> weight = weights_.vector(unit);
  const auto width = static_cast<int64_t>(weight.size());
  Tensor y = make(x.rows, x.cols);
  const float* in = cpu_data(x);
  float* out = cpu_data(y);
  for_rows(x.rows * x.cols / width, width, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      rms_norm_row(in + i * width, weight.data(), width, static_cast<float>(epsilon),
                   out + i * width);
    }
  });
  round(y);
  return y;
}

void CpuBackend::rope(Tensor& x, int layer, int64_t heads, int64_t position, int64_t step) {
  const RopeTable& table = rope_.of_layer(layer);
  const int64_t dim = x.cols / heads;
  float* data = cpu_data(x);
  for_rows(x.rows, x.cols, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      const float* cosines = table.cosines(position + i * step);
      const float* sines = table.sines(position + i * step);
      for (int64_t head = 0; head < heads; ++head) {
        rotate_head(data + i * x.cols + head * dim, cosines, sines, table.rotated());
      }
    }
  });
  round(x);
}

void CpuBackend::add(Tensor& x, const Tensor& y) {
  float* sum = cpu_data(x);
  const float* other = cpu_data(y);
  for_rows(x.rows, x.cols, [&](int64_t first, int64_t count, int) {
    add_scaled_row(sum + first * x.cols, other + first * x.cols, 1.0F, count * x.cols);
  });
  round(x);
}

void CpuBackend::scale_by_sigmoid(Tensor& x, const Tensor& gate) {
  for (int64_t i = 0; i < x.rows; ++i) {
    const float scale = 1.0F / (1.0F + std::exp(-cpu_data(gate)[i]));
    scale_row(cpu_data(x) + i * x.cols, scale, x.cols);
  }
  round(x);
}

}  // namespace ram
