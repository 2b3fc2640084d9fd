// Qwen2-MoE: Qwen2's attention, experts, and one expert that all tokens share behind a gate.
// @source transformers 5.23, models/qwen2_moe/modeling_qwen2_moe.py
#include "arch/blocks.h"

namespace ram {

std::vector<Stage> qwen2_moe_stages(const LayerContext& context) {
  std::vector<Stage> stages = {attention_stage(context, {})};
  const ExpertBlock block{.router = "mlp.gate",
                          .experts = "mlp.switch_mlp",
                          .renormalise = context.config.renormalise_experts,
                          .shared_expert = true};
  for (Stage& stage : expert_stages(context, block)) stages.push_back(std::move(stage));
  return stages;
}

}  // namespace ram
