// Qwen3: each head of queries and keys is normed before it is rotated.
// @source transformers 5.23, models/qwen3/modeling_qwen3.py
#include "arch/blocks.h"

namespace ram {

std::vector<Stage> qwen3_stages(const LayerContext& context) {
  return {attention_stage(context, {.head_norms = true}), dense_mlp_stage(context)};
}

}  // namespace ram
