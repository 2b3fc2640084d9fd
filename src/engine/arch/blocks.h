// The blocks that architectures share: each returns the stages that it takes.
#pragma once

#include <string>
#include <vector>

#include "architecture.h"

namespace ram {

/// hidden += o_proj(attention(rope(q), rope(k), v)) of the normed hidden state, grouped-query,
/// causal. Biases of the projections are used where the model has them.
struct AttentionBlock {
  bool head_norms = false;  ///< q_norm and k_norm on each head before the rotation
};
Stage attention_stage(const LayerContext& context, const AttentionBlock& block);

/// hidden += down_proj(silu(gate_proj) * up_proj) of the normed hidden state.
Stage dense_mlp_stage(const LayerContext& context);

/// hidden += the weighted sum of each token's experts, of the normed hidden state.
struct ExpertBlock {
  const char* router = nullptr;  ///< module of the router, as "mlp.gate"
  std::string experts;           ///< module that holds the stacked projections, "mlp.switch_mlp"
  bool renormalise = false;
  bool shared_expert = false;  ///< mlp.shared_expert, times sigmoid of mlp.shared_expert_gate
};
std::vector<Stage> expert_stages(const LayerContext& context, const ExpertBlock& block);

/// The stages of each family, one file each.
std::vector<Stage> llama_stages(const LayerContext& context);
std::vector<Stage> mistral_stages(const LayerContext& context);
std::vector<Stage> qwen2_stages(const LayerContext& context);
std::vector<Stage> qwen3_stages(const LayerContext& context);
std::vector<Stage> qwen3_moe_stages(const LayerContext& context);
std::vector<Stage> qwen2_moe_stages(const LayerContext& context);
std::vector<Stage> mixtral_stages(const LayerContext& context);

}  // namespace ram
