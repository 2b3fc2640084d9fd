// Qwen2 with experts and a shared expert in every layer.
#include <algorithm>

#include "families.h"
#include "families/common.h"

namespace ram {
namespace {

constexpr auto kRouter = router();

// The gate of the shared expert matters as a router does: one wrong row affects every token.
constexpr std::array kSharedExpert = {
    ModuleRow{.module = "model.layers.{l}.mlp.shared_expert.gate_proj",
              .role = Role::kSharedExpert,
              .rows = Dim::kSharedWidth,
              .cols = Dim::kHidden,
              .when = When::kExpertLayer},
    ModuleRow{.module = "model.layers.{l}.mlp.shared_expert.up_proj",
              .role = Role::kSharedExpert,
              .rows = Dim::kSharedWidth,
              .cols = Dim::kHidden,
              .when = When::kExpertLayer},
    ModuleRow{.module = "model.layers.{l}.mlp.shared_expert.down_proj",
              .role = Role::kSharedExpert,
              .rows = Dim::kHidden,
              .cols = Dim::kSharedWidth,
              .when = When::kExpertLayer},
    ModuleRow{.module = "model.layers.{l}.mlp.shared_expert_gate",
              .role = Role::kRouter,
              .rows = Dim::kOne,
              .cols = Dim::kHidden,
              .when = When::kExpertLayer},
};

constexpr std::array kLayer = {ModuleRows(kInputNorm), ModuleRows(kBiasedAttention),
                               ModuleRows(kPostNorm),  ModuleRows(kRouter),
                               ModuleRows(kExperts),   ModuleRows(kSharedExpert)};

std::vector<bool> expert_layers(const Keys& keys, int64_t layers, const std::string& file) {
  std::vector<bool> sparse = configured_expert_layers(keys, layers, file);
  if (std::count(sparse.begin(), sparse.end(), false) > 0) {
    fail(Code::kUnsupported,
         "mlp_only_layers or decoder_sparse_step make some layers dense: mlx_lm's "
         "qwen2_moe model has experts in every layer ({})",
         file);
  }
  return sparse;
}

std::vector<int64_t> windows(const Keys& keys, int64_t layers, const std::string& file) {
  return windows_by_layer(keys, layers, file, [](int64_t layer, int64_t max_window_layers) {
    return layer % 2 == 0 && layer < max_window_layers;
  });
}

}  // namespace

constexpr Family kQwen2Moe = {
    .model_type = "qwen2_moe",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .expert_layers = expert_layers,
    .windows = windows,
    .may_be_tied = false,
    .only_linear_rope = true,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 16,
                    "max_position_embeddings": 32768, "num_experts_per_tok": 4,
                    "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": false})",
    .unwritten_defaults = R"({"sliding_window": 4096, "max_window_layers": 28})",
    .fixed = R"({"hidden_act": "silu", "norm_topk_prob": false, "qkv_bias": true})",
};

}  // namespace ram
