// Mistral: Llama with a window on the keys that a query sees.
// @source transformers 5.23, models/mistral/modeling_mistral.py
#include "arch/blocks.h"

namespace ram {

std::vector<Stage> mistral_stages(const LayerContext& context) {
  return {attention_stage(context, {}), dense_mlp_stage(context)};
}

}  // namespace ram
