// Llama: grouped-query attention and a dense SwiGLU block; biases where config.json asks for them.
// @source transformers 5.23, models/llama/modeling_llama.py
#include "arch/blocks.h"

namespace ram {

std::vector<Stage> llama_stages(const LayerContext& context) {
  return {attention_stage(context, {}), dense_mlp_stage(context)};
}

}  // namespace ram
