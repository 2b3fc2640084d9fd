// Llama and the families that differ from it only in their configuration: grouped-query attention
// and a dense SwiGLU block. Mistral has a window on the keys that a query sees; Qwen2 has biases on
// queries, keys and values and optionally a window from some layer on; Qwen3 has a norm on each
// head of queries and keys.
// @source transformers 5.23, models/{llama,mistral,qwen2,qwen3}/modeling_*.py
#include "arch/blocks.h"

namespace ram {

std::vector<Stage> llama_stages(const LayerContext& context) {
  return {attention_stage(context), dense_mlp_stage(context)};
}

}  // namespace ram
