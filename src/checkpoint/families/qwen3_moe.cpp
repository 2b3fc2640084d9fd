// Qwen3 with experts in the layers given by config.json.
#include "families.h"
#include "families/common.h"

namespace ram {
namespace {

/// @source mlx_lm 0.32, models/qwen3_moe.py, `quant_predicate`: the router is {8, 64}
constexpr auto kRouter = router(AffineFormat{.bits = 8, .group_size = 64});

constexpr std::array kLayer = {ModuleRows(kInputNorm),        ModuleRows(kPlainAttention),
                               ModuleRows(kHeadNorms),        ModuleRows(kPostNorm),
                               ModuleRows(kMlpOfDenseLayers), ModuleRows(kRouter),
                               ModuleRows(kExperts)};

}  // namespace

constexpr Family kQwen3Moe = {
    .model_type = "qwen3_moe",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .expert_layers = configured_expert_layers,
    .windows = windows_if_used,
    .own_head_dim = true,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 4,
                    "max_position_embeddings": 32768, "num_experts_per_tok": 8,
                    "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": false})",
    .unwritten_defaults = R"({"sliding_window": 4096})",
    .fixed = R"({"hidden_act": "silu", "attention_bias": false})",
};

}  // namespace ram
