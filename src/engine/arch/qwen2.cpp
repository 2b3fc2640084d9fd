// Qwen2: Llama with biases on queries, keys and values; a window from some layer on if asked for.
// @source transformers 5.23, models/qwen2/modeling_qwen2.py
#include "arch/blocks.h"

namespace ram {

std::vector<Stage> qwen2_stages(const LayerContext& context) {
  return {attention_stage(context, {}), dense_mlp_stage(context)};
}

}  // namespace ram
