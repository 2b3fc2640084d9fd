// Search and error feedback over the columns of a block, a vector of rows at a time: the data of
// one vector fits the L1 cache.
#include "lanes.h"

#include <algorithm>
#include <cstring>

#include "ram/simd_targets.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "lanes.cpp"
#include <hwy/foreach_target.h>
#include <hwy/highway.h>

#include "feedback-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ram::HWY_NAMESPACE {

void search_lanes(const TileBlock& block, float* error) {
  const F f;
  const int size = block.format.group_size;
  const VF top = hn::Set(f, static_cast<float>((1 << block.format.bits) - 1));
  alignas(64) Columns values;
  for (int64_t lane = 0; lane < block.lanes; lane += kWidth) {
    load_columns(block.weights + lane, block.width, values);
    const Storage storage = storage_of(block, lane);
    for (int64_t first = 0; first < block.width; first += size) {
      Search search(values + first * kWidth, block.importance + first, size, storage);
      const Rules rules = search.run(block.effort);
      store_rules(block, first / size, lane, rules);
      const VF inverse = inverse_of(rules.scale);
      for (int64_t k = first; k < first + size; ++k) {
        const VF from = hn::Sub(hn::Load(f, values + k * kWidth), rules.bias);
        const VF steps = hn::Round(hn::Mul(from, inverse));
        const VF code = hn::Min(hn::Max(steps, hn::Zero(f)), top);
        store_code(code, block.codes + k * kTileRows + lane);
        if (error != nullptr) {
          hn::StoreU(hn::NegMulAdd(rules.scale, code, from), f, error + k * kTileRows + lane);
        }
      }
    }
  }
}

void feedback_lanes(const FeedbackBlock& block) {
  const F f;
  const int64_t size = block.format.group_size;
  alignas(64) Columns target;
  alignas(64) Columns unrounded;
  alignas(64) Columns error;
  QuantizedGroup result;
  for (int64_t lane = 0; lane < block.lanes; lane += kWidth) {
    load_columns(block.target + lane, block.width, target);
    const Storage storage = storage_of(block, lane);
    VF cost = hn::LoadU(f, block.objective + lane);
    for (int64_t first = 0; first < block.width; first += size) {
      const float* now = target + first * kWidth;
      const GroupInput group = {size,
                                storage.top,
                                block.weights + first * kTileRows + lane,
                                kTileRows,
                                block.feedback + first * kBlock + first,
                                block.pivots + first};
      propagate_unrounded(group, now, unrounded);
      Search search(unrounded, block.importance + first, static_cast<int>(size), storage);
      Rules rules = search.run(block.effort);
      quantize_group(group, rules, now, result);
      try_around(group, storage, block.tries, now, rules, result);
      store_rules(block, first / size, lane, rules);
      cost = hn::Add(cost, result.cost);
      for (int64_t k = 0; k < size; ++k) {
        store_code(hn::Load(f, result.code + k * kWidth),
                   block.codes + (first + k) * kTileRows + lane);
        hn::Store(hn::Load(f, result.error + k * kWidth), f, error + (first + k) * kWidth);
      }
      propagate_group(error, block.feedback, first, first + size, first + size, block.width,
                      target);
    }
    hn::StoreU(cost, f, block.objective + lane);
    store_columns(error, block.width, block.error + lane);
  }
}

}  // namespace ram::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ram {

HWY_EXPORT(search_lanes);
HWY_EXPORT(feedback_lanes);

void search_block(const TileBlock& block, float* error) {
  HWY_DYNAMIC_DISPATCH(search_lanes)(block, error);
}

void feedback_block(const FeedbackBlock& block) {
  HWY_DYNAMIC_DISPATCH(feedback_lanes)(block);
}

}  // namespace ram
#endif
