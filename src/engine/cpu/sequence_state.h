// The CPU's state of a sequence: for each layer two arrays, keys and values of all heads.
#pragma once

#include <cstdint>
#include <vector>

#include "backend.h"

namespace ram {

/// Keys [room, kv_heads * key_dim] and values [room, kv_heads * value_dim] of one layer.
struct KvCache {
  Tensor keys;
  Tensor values;
};

class CpuSequenceState : public SequenceState {
 public:
  /// An empty state.
  explicit CpuSequenceState(const ModelConfig& config);

  int64_t bytes_per_token() const override;
  int64_t fixed_bytes() const override { return 0; }

  std::vector<KvCache>& layers() { return layers_; }
  KvCache& layer(int index) { return layers_.at(static_cast<size_t>(index)); }

 private:
  std::vector<KvCache> layers_;
};

/// @pre `state` is the CPU's.
inline CpuSequenceState& cpu_state(SequenceState& state) {
  return static_cast<CpuSequenceState&>(state);
}

}  // namespace ram
