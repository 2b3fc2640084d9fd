// The operations' derivatives on the CPU, in float32; that of attention is beside it.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

#include "ram/error.h"
#include "ram/size.h"

#include "cpu/cpu_backend.h"
#include "cpu/kernels.h"
#include "cpu/tiles.h"

namespace ram {
namespace {

/// Columns of a result that one thread computes at a time: a whole number of tiles.
constexpr int64_t kBackCols = 512;

}  // namespace

void CpuBackend::multiply_transposed(const Tensor& x, int unit, int64_t first_row,
                                     std::span<const Block> blocks, const Tensor& y) {
  RAM_CHECK(precision_ == Precision::kF32);
  struct Task {
    const Block* block;
    int64_t row;  // of the block's
    int64_t col;  // of y's
  };
  std::vector<Task> tasks;
  for (const Block& block : blocks) {
    for (int64_t row = 0; row < block.count; row += kRowBlock) {
      for (int64_t col = 0; col < y.cols; col += kBackCols) tasks.push_back({&block, row, col});
    }
  }
  threads_.run(std::ssize(tasks), [&](int64_t i, int) {
    const Task& task = tasks[static_cast<size_t>(i)];
    const TransposedMatrix& matrix = weights_.transposed(unit, task.block->part);
    const int64_t row = task.block->begin + task.row;
    const int64_t rows = std::min(kRowBlock, task.block->count - task.row);
    const int64_t cols = std::min(kBackCols, y.cols - task.col);
    float* out = cpu_data(y) + row * y.cols + task.col;
    const int64_t first_panel = first_row / matrix.panel_rows;
    const int64_t last_panel = ceil_div(first_row + x.cols, matrix.panel_rows);
    const bool one = last_panel - first_panel == 1;
    const auto buffer = one ? nullptr : buffers_->take(rows * cols * 4);
    for (int64_t panel = first_panel; panel < last_panel; ++panel) {
      auto* part = panel == first_panel ? out : reinterpret_cast<float*>(buffer.get());
      const int64_t stride = panel == first_panel ? y.cols : cols;
      multiply_tiled(
          {.x = cpu_data(x) + row * x.cols + (panel - first_panel) * matrix.panel_rows,
           .x_stride = x.cols,
           .rows = rows,
           .tiled = reinterpret_cast<const float*>(matrix.panels[static_cast<size_t>(panel)].get()),
           .tiled_n = matrix.cols,
           .tiled_k = matrix.rows_of(panel),
           .first_row = task.col,
           .n = cols,
           .k = matrix.rows_of(panel),
           .y = part,
           .y_stride = stride});
      if (panel == first_panel) continue;
      for (int64_t j = 0; j < rows; ++j) {
        add_scaled_row(out + j * y.cols, part + j * cols, 1.0F, cols);
      }
    }
  });
}

Tensor CpuBackend::linear_back(const Tensor& dy, int unit) {
  Tensor dx = make(dy.rows, weights_.transposed(unit, 0).cols);
  const Block block{.part = 0, .begin = 0, .count = dy.rows};
  multiply_transposed(dy, unit, 0, {&block, 1}, dx);
  return dx;
}

Tensor CpuBackend::logits_back(const Tensor& dy, int unit, int64_t first_id) {
  Tensor dx = make(dy.rows, weights_.transposed(unit, 0).cols);
  const Block block{.part = 0, .begin = 0, .count = dy.rows};
  multiply_transposed(dy, unit, first_id, {&block, 1}, dx);
  return dx;
}

Tensor CpuBackend::grouped_linear_back(const Tensor& dy, int unit, const Routing& routing,
                                       ExpertRange range) {
  Tensor dx = zeros(dy.rows, weights_.transposed(unit, range.first).cols);
  multiply_transposed(dy, unit, 0, expert_blocks(cpu_routing(routing), range), dx);
  return dx;
}

// y = w x r, r = 1 / sqrt(mean(x^2) + epsilon): dx = r (w dy) - x r^3 mean(x w dy).
Tensor CpuBackend::rms_norm_back(const Tensor& x, const Tensor& dy, int unit, double epsilon) {
  const std::span<const float> weight = weights_.vector(unit);
  const auto width = static_cast<int64_t>(weight.size());
  Tensor dx = make(x.rows, x.cols);
  for_rows(x.rows * x.cols / width, width, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      const float* in = cpu_data(x) + i * width;
      const float* gradient = cpu_data(dy) + i * width;
      float* out = cpu_data(dx) + i * width;
      for (int64_t j = 0; j < width; ++j) out[j] = gradient[j] * weight[static_cast<size_t>(j)];
      const auto n = static_cast<double>(width);
      const double scale = 1 / std::sqrt(dot_in_double(in, in, width) / n + epsilon);
      const double share = dot_in_double(in, out, width) / n * scale * scale;
      const auto by = static_cast<float>(scale);
      const auto less = static_cast<float>(share * scale);
      for (int64_t j = 0; j < width; ++j) out[j] = by * out[j] - less * in[j];
    }
  });
  return dx;
}

void CpuBackend::rope_back(Tensor& dy, int layer, int64_t heads, int64_t position) {
  const RopeTable& table = rope_.of_layer(layer);
  const int64_t dim = dy.cols / heads;
  const int64_t half = table.rotated() / 2;
  for_rows(dy.rows, dy.cols, [&](int64_t first, int64_t count, int) {
    // The transposed rotation: by the opposite angle, with the same factor.
    std::vector<float> opposite(static_cast<size_t>(half));
    for (int64_t i = first; i < first + count; ++i) {
      const float* sines = table.sines(position + i);
      for (int64_t j = 0; j < half; ++j) opposite[static_cast<size_t>(j)] = -sines[j];
      for (int64_t head = 0; head < heads; ++head) {
        rotate_head(cpu_data(dy) + i * dy.cols + head * dim, table.cosines(position + i),
                    opposite.data(), table.rotated());
      }
    }
  });
}

Tensor CpuBackend::gate(const Tensor& gate, const Tensor& up) {
  Tensor y = copy_rows(gate, 0, gate.rows);
  for_rows(y.rows, y.cols, [&](int64_t first, int64_t count, int) {
    gate_row(cpu_data(y) + first * y.cols, cpu_data(up) + first * y.cols, count * y.cols);
  });
  return y;
}

GateGradients CpuBackend::gate_back(const Tensor& gate, const Tensor& up, const Tensor& dy) {
  GateGradients gradients{.gate = make(gate.rows, gate.cols), .up = make(up.rows, up.cols)};
  for_rows(gate.rows, gate.cols, [&](int64_t first, int64_t count, int) {
    const int64_t at = first * gate.cols;
    gate_back_row(cpu_data(gate) + at, cpu_data(up) + at, cpu_data(dy) + at, count * gate.cols,
                  cpu_data(gradients.gate) + at, cpu_data(gradients.up) + at);
  });
  return gradients;
}

Tensor CpuBackend::scale_by_sigmoid_back(const Tensor& x, const Tensor& gate, Tensor& dy) {
  Tensor dgate = make(gate.rows, 1);
  for (int64_t i = 0; i < x.rows; ++i) {
    const float s = 1.0F / (1.0F + std::exp(-cpu_data(gate)[i]));
    float* row = cpu_data(dy) + i * dy.cols;
    const double sum = dot_in_double(row, cpu_data(x) + i * x.cols, x.cols);
    cpu_data(dgate)[i] = static_cast<float>(sum) * s * (1 - s);
    scale_row(row, s, dy.cols);
  }
  return dgate;
}

// A token's weights are its experts' probabilities p; renormalised ones are a softmax over the
// chosen logits alone. In both, d logit_e = w_e (dw_e - sum of w dw), where the sum is over the
// chosen experts; without renormalising, those that were not chosen have -p_e times that sum too.
Tensor CpuBackend::route_back(const Tensor& dweights, const Routing& routing, const Tensor& logits,
                              const RouteSpec& spec) {
  const CpuRouting& own = cpu_routing(routing);
  const int64_t experts = logits.cols;
  Tensor dlogits = zeros(logits.rows, experts);
  Tensor weights = zeros(logits.rows, experts);
  for (int64_t expert = 0; expert < experts; ++expert) {
    const CpuRouting::Segment& segment = own.segments.at(static_cast<size_t>(expert));
    for (int64_t at = segment.begin; at < segment.begin + segment.count; ++at) {
      cpu_data(weights)[own.token[static_cast<size_t>(at)] * experts + expert] =
          own.weight[static_cast<size_t>(at)];
    }
  }
  std::vector<float> p(static_cast<size_t>(experts));
  for (int64_t i = 0; i < logits.rows; ++i) {
    const float* w = cpu_data(weights) + i * experts;
    const float* dw = cpu_data(dweights) + i * experts;
    const auto sum = static_cast<float>(dot_in_double(w, dw, experts));
    std::memcpy(p.data(), cpu_data(logits) + i * experts, static_cast<size_t>(experts) * 4);
    softmax_row(p.data(), experts, 1.0F);
    for (int64_t expert = 0; expert < experts; ++expert) {
      const float own_share = w[expert] > 0 ? w[expert] * dw[expert] : 0.0F;
      const float all = spec.renormalise ? w[expert] : p[static_cast<size_t>(expert)];
      cpu_data(dlogits)[i * experts + expert] = own_share - all * sum;
    }
  }
  return dlogits;
}

ExpSum CpuBackend::exp_sum(std::span<const float> logits) {
  const float largest = largest_of_row(logits.data(), std::ssize(logits));
  return {.largest = largest, .sum = sum_exp_row(logits.data(), std::ssize(logits), largest)};
}

void CpuBackend::likelihood_back(Tensor& logits, std::span<const int32_t> labels,
                                 std::span<const double> log_sums, int64_t first_id) {
  RAM_CHECK(std::ssize(labels) == logits.rows && labels.size() == log_sums.size());
  for_rows(logits.rows, logits.cols, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      float* row = cpu_data(logits) + i * logits.cols;
      const int64_t label = labels[static_cast<size_t>(i)];
      if (label < 0) {
        std::fill_n(row, logits.cols, 0.0F);
        continue;
      }
      negative_exp_row(row, logits.cols, static_cast<float>(log_sums[static_cast<size_t>(i)]));
      if (label >= first_id && label < first_id + logits.cols) row[label - first_id] += 1;
    }
  });
}

// ||G^T X||^2 is the sum over pairs of tokens of (G G^T) (X X^T): no matrix of the weights' size.
double CpuBackend::gradient_square(const LinearGradient& gradient) {
  const int64_t tokens = gradient.tokens;
  struct Side {
    const float* values;
    int64_t cols;
    std::shared_ptr<std::byte> tiled;
  };
  std::array<Side, 2> sides = {Side{gradient.inputs, gradient.cols, {}},
                               Side{gradient.gradients, gradient.rows, {}}};
  threads_.run(2, [&](int64_t i, int) {
    Side& side = sides[static_cast<size_t>(i)];
    side.tiled = buffers_->take(tiled_floats(tokens, side.cols) * 4);
    tile_weights(side.values, side.cols, 1, tokens, side.cols,
                 reinterpret_cast<float*>(side.tiled.get()));
  });
  // Blocks of tokens with all tokens before their end; those before the block count twice.
  constexpr int64_t kBlock = 96;  // a whole number of tiles
  const int64_t blocks = ceil_div(tokens, kBlock);
  std::vector<double> sums(static_cast<size_t>(blocks));
  threads_.run(blocks, [&](int64_t block, int) {
    const int64_t first = block * kBlock;
    const int64_t count = std::min(kBlock, tokens - first);
    const int64_t others = first + count;
    const auto buffer = buffers_->take(2 * count * others * 4);
    std::array<float*, 2> products = {reinterpret_cast<float*>(buffer.get()),
                                      reinterpret_cast<float*>(buffer.get()) + count * others};
    for (size_t i = 0; i < 2; ++i) {
      multiply_tiled({.x = sides[i].values + first * sides[i].cols,
                      .x_stride = sides[i].cols,
                      .rows = count,
                      .tiled = reinterpret_cast<const float*>(sides[i].tiled.get()),
                      .tiled_n = tokens,
                      .tiled_k = sides[i].cols,
                      .n = others,
                      .k = sides[i].cols,
                      .y = products[i],
                      .y_stride = others});
    }
    double sum = 0;
    for (int64_t i = 0; i < count; ++i) {
      const float* x = products[0] + i * others;
      const float* y = products[1] + i * others;
      sum += 2 * dot_in_double(x, y, first) + dot_in_double(x + first, y + first, count);
    }
    sums[static_cast<size_t>(block)] = sum;
  });
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

std::vector<ExpertRows> CpuBackend::expert_rows(const Routing& routing, ExpertRange range) {
  std::vector<ExpertRows> rows;
  for (const Block& block : expert_blocks(cpu_routing(routing), range)) {
    rows.push_back({.expert = block.part,
                    .begin = block.begin,
                    .count = block.count,
                    .positions = {block.positions, static_cast<size_t>(block.count)}});
  }
  return rows;
}

void CpuBackend::gather_back(Tensor& dx, const Tensor& dy, const Routing& routing,
                             ExpertRange range) {
  // One expert after another: a token's are added in order.
  for (const ExpertRows& rows : expert_rows(routing, range)) {
    for (int64_t i = 0; i < rows.count; ++i) {
      add_scaled_row(cpu_data(dx) + rows.positions[static_cast<size_t>(i)] * dx.cols,
                     cpu_data(dy) + (rows.begin + i) * dy.cols, 1.0F, dx.cols);
    }
  }
}

Tensor CpuBackend::combine_back(const Tensor& dsum, const Tensor& y, const Routing& routing,
                                ExpertRange range, Tensor& dweights) {
  const CpuRouting& own = cpu_routing(routing);
  const int64_t base = own.segments.at(static_cast<size_t>(range.first)).begin;
  Tensor dy = zeros(y.rows, y.cols);
  for (const ExpertRows& rows : expert_rows(routing, range)) {
    for (int64_t i = 0; i < rows.count; ++i) {
      const int64_t at = rows.begin + i;
      const int64_t token = rows.positions[static_cast<size_t>(i)];
      const float* gradient = cpu_data(dsum) + token * dsum.cols;
      cpu_data(dweights)[token * dweights.cols + rows.expert] +=
          static_cast<float>(dot_in_double(gradient, cpu_data(y) + at * y.cols, y.cols));
      add_scaled_row(cpu_data(dy) + at * dy.cols, gradient,
                     own.weight[static_cast<size_t>(base + at)], dy.cols);
    }
  }
  return dy;
}

}  // namespace ram
