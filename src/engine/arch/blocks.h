// The blocks that architectures share: each returns its stages.
#pragma once

#include <vector>

#include "arch/architecture.h"

namespace ram {

/// hidden += o_proj(attention(rope(q), rope(k), v)) of the normed hidden state, grouped-query,
/// causal. Biases of the projections are added where the model has them; each head of queries and
/// keys is normed by q_norm and k_norm before the rotation where the layer's config says so.
Stage attention_stage(const LayerContext& context);

/// hidden += down_proj(silu(gate_proj) * up_proj) of the normed hidden state.
Stage dense_mlp_stage(const LayerContext& context);

/// hidden += the weighted sum of each token's experts, of the normed hidden state; plus
/// <block>.shared_expert times sigmoid of <block>.shared_expert_gate where the layer has one.
/// @param block the module that holds router (gate) and stacked projections (switch_mlp), as "mlp".
std::vector<Stage> expert_stages(const LayerContext& context, const char* block);

/// The architectures, one file for those that differ only in their configuration.
std::vector<Stage> llama_stages(const LayerContext& context);
std::vector<Stage> qwen_moe_stages(const LayerContext& context);
std::vector<Stage> mixtral_stages(const LayerContext& context);

}  // namespace ram
