#include "cpu/sequence_state.h"

namespace ram {

CpuSequenceState::CpuSequenceState(const ModelConfig& config) {
  const Tensor none{.rows = 0, .cols = config.kv_heads * config.head_dim, .storage = nullptr};
  layers_.assign(static_cast<size_t>(config.layers), {.keys = none, .values = none});
}

int64_t CpuSequenceState::bytes_per_token() const {
  int64_t floats = 0;
  for (const KvCache& layer : layers_) floats += layer.keys.cols + layer.values.cols;
  return 4 * floats;
}

}  // namespace ram
