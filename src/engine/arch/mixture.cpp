// Llama's attention, with experts instead of the dense block. Qwen3-MoE has dense blocks in some
// layers and norms heads as Qwen3 does; Qwen2-MoE has biases as Qwen2 does and one gated expert
// that all tokens share. Mixtral's block has another name; its softmax over the chosen experts'
// logits equals the renormalised softmax over all.
// @source transformers 5.23, models/{qwen3_moe,qwen2_moe,mixtral}/modeling_*.py
#include "arch/blocks.h"

namespace ram {
namespace {

/// @param block the module that holds router and experts.
std::vector<Stage> stages_of(const LayerContext& context, const char* block) {
  std::vector<Stage> stages = {attention_stage(context)};
  if (!context.own().experts) {
    stages.push_back(dense_mlp_stage(context));
    return stages;
  }
  for (Stage& stage : expert_stages(context, block)) stages.push_back(std::move(stage));
  return stages;
}

}  // namespace

std::vector<Stage> qwen_moe_stages(const LayerContext& context) {
  return stages_of(context, "mlp");
}

std::vector<Stage> mixtral_stages(const LayerContext& context) {
  return stages_of(context, "block_sparse_moe");
}

}  // namespace ram
