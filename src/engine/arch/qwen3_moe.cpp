// Qwen3-MoE: Qwen3 with experts in most layers, dense blocks in the others.
// @source transformers 5.23, models/qwen3_moe/modeling_qwen3_moe.py
#include "arch/blocks.h"

namespace ram {

std::vector<Stage> qwen3_moe_stages(const LayerContext& context) {
  std::vector<Stage> stages = {attention_stage(context, {.head_norms = true})};
  if (!context.config.expert_layer.at(static_cast<size_t>(context.layer))) {
    stages.push_back(dense_mlp_stage(context));
    return stages;
  }
  const ExpertBlock block{.router = "mlp.gate",
                          .experts = "mlp.switch_mlp",
                          .renormalise = context.config.renormalise_experts};
  for (Stage& stage : expert_stages(context, block)) stages.push_back(std::move(stage));
  return stages;
}

}  // namespace ram
