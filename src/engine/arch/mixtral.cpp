// Mixtral: Llama's attention; the softmax over the chosen experts' logits is the renormalised
// softmax over all.
// @source transformers 5.23, models/mixtral/modeling_mixtral.py
#include "arch/blocks.h"

namespace ram {

std::vector<Stage> mixtral_stages(const LayerContext& context) {
  std::vector<Stage> stages = {attention_stage(context, {})};
  const ExpertBlock block{.router = "block_sparse_moe.gate",
                          .experts = "block_sparse_moe.switch_mlp",
                          .renormalise = context.config.renormalise_experts};
  for (Stage& stage : expert_stages(context, block)) stages.push_back(std::move(stage));
  return stages;
}

}  // namespace ram
