#include "cpu/sequence_state.h"

namespace ram {

CpuSequenceState::CpuSequenceState(const ModelConfig& config) {
  for (const LayerConfig& layer : config.layers) {
    const AttentionConfig& own = layer.attention;
    layers_.push_back(
        {.keys = {.rows = 0, .cols = own.kv_heads * own.key_dim, .storage = nullptr},
         .values = {.rows = 0, .cols = own.kv_heads * own.value_dim, .storage = nullptr}});
  }
}

int64_t CpuSequenceState::bytes_per_token() const {
  int64_t floats = 0;
  for (const KvCache& layer : layers_) floats += layer.keys.cols + layer.values.cols;
  return 4 * floats;
}

}  // namespace ram
