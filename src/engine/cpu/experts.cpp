// Experts: routing, gathering rows by expert, and adding them back.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "ram/error.h"

#include "cpu/cpu_backend.h"
#include "cpu/kernels.h"

namespace ram {
namespace {

struct Choice {
  int32_t expert;
  float weight;
};

/// The `count` largest of `probabilities`, ties by the lower index.
void choose(std::span<const float> probabilities, const RouteSpec& spec, std::span<Choice> chosen) {
  std::vector<int32_t> order(probabilities.size());
  std::iota(order.begin(), order.end(), 0);
  std::partial_sort(order.begin(), order.begin() + std::ssize(chosen), order.end(),
                    [&](int32_t a, int32_t b) {
                      const float pa = probabilities[static_cast<size_t>(a)];
                      const float pb = probabilities[static_cast<size_t>(b)];
                      return pa != pb ? pa > pb : a < b;
                    });
  float sum = 0;
  for (size_t i = 0; i < chosen.size(); ++i) {
    chosen[i] = {order[i], probabilities[static_cast<size_t>(order[i])]};
    sum += chosen[i].weight;
  }
  if (!spec.renormalise) return;
  for (Choice& choice : chosen) choice.weight /= sum;
}

}  // namespace

Routing CpuBackend::route(const Tensor& logits, const RouteSpec& spec) {
  const int64_t experts = logits.cols;
  const auto per_token = static_cast<size_t>(spec.experts_per_token);
  std::vector<Choice> choices(static_cast<size_t>(logits.rows) * per_token);
  threads_.run(ceil_div(logits.rows, kRowBlock), [&](int64_t block, int) {
    std::vector<float> probabilities(static_cast<size_t>(experts));
    const int64_t end = std::min(logits.rows, (block + 1) * kRowBlock);
    for (int64_t i = block * kRowBlock; i < end; ++i) {
      std::memcpy(probabilities.data(), cpu_data(logits) + i * experts,
                  static_cast<size_t>(experts) * 4);
      softmax_row(probabilities.data(), experts, 1.0F);
      choose(probabilities, spec,
             std::span(choices).subspan(static_cast<size_t>(i) * per_token, per_token));
    }
  });
  auto routing = std::make_shared<CpuRouting>();
  routing->experts_per_token = spec.experts_per_token;
  routing->segments.resize(static_cast<size_t>(experts));
  for (const Choice& choice : choices) {
    ++routing->segments[static_cast<size_t>(choice.expert)].count;
  }
  for (auto& segment : routing->segments) {
    segment.begin = routing->gathered_rows;
    routing->gathered_rows += padded_rows(segment.count);
  }
  routing->token.assign(static_cast<size_t>(routing->gathered_rows), -1);
  routing->weight.assign(static_cast<size_t>(routing->gathered_rows), 0);
  routing->places.resize(choices.size());
  std::vector<int64_t> next(static_cast<size_t>(experts));
  for (size_t i = 0; i < choices.size(); ++i) {
    const auto expert = static_cast<size_t>(choices[i].expert);
    const auto at = static_cast<size_t>(routing->segments[expert].begin + next[expert]++);
    routing->token[at] = static_cast<int32_t>(i / per_token);
    routing->weight[at] = choices[i].weight;
    routing->places[i] = static_cast<int32_t>(at);
    if ((i + 1) % per_token == 0) {
      const auto end = routing->places.begin() + static_cast<int64_t>(i) + 1;
      std::sort(end - spec.experts_per_token, end);
    }
  }
  return {.tokens = logits.rows, .storage = std::move(routing)};
}

namespace {

/// Gathered rows of a range: [begin, end).
struct Rows {
  int64_t begin;
  int64_t end;
};

Rows rows_of(const CpuRouting& routing, ExpertRange range) {
  const auto& last = routing.segments.at(static_cast<size_t>(range.last - 1));
  return {routing.segments.at(static_cast<size_t>(range.first)).begin,
          last.begin + padded_rows(last.count)};
}

}  // namespace

Tensor CpuBackend::gather(const Tensor& x, const Routing& routing, ExpertRange range) {
  const CpuRouting& own = cpu_routing(routing);
  const Rows rows = rows_of(own, range);
  Tensor y = make(rows.end - rows.begin, x.cols);
  const auto row_bytes = static_cast<size_t>(x.cols) * 4;
  for_rows(y.rows, y.cols, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first; i < first + count; ++i) {
      const int32_t token = own.token[static_cast<size_t>(rows.begin + i)];
      float* out = cpu_data(y) + i * y.cols;
      if (token >= 0) {
        std::memcpy(out, cpu_data(x) + token * x.cols, row_bytes);
      } else {
        std::memset(out, 0, row_bytes);
      }
    }
  });
  return y;
}

void CpuBackend::combine(Tensor& sum, const Tensor& y, const Routing& routing, ExpertRange range) {
  const CpuRouting& own = cpu_routing(routing);
  const Rows rows = rows_of(own, range);
  const int64_t per_token = own.experts_per_token;
  for_rows(sum.rows, per_token * sum.cols, [&](int64_t first, int64_t count, int) {
    for (int64_t i = first * per_token; i < (first + count) * per_token; ++i) {
      const int32_t place = own.places[static_cast<size_t>(i)];
      if (place < rows.begin || place >= rows.end) continue;
      add_scaled_row(cpu_data(sum) + i / per_token * sum.cols,
                     cpu_data(y) + (place - rows.begin) * y.cols,
                     own.weight[static_cast<size_t>(place)], sum.cols);
    }
  });
}

}  // namespace ram
