// Mistral: mlx_lm's llama model without biases, and all layers slide.
#include "families.h"
#include "families/common.h"

namespace ram {
namespace {

constexpr std::array kLayer = {ModuleRows(kInputNorm), ModuleRows(kPlainAttention),
                               ModuleRows(kPostNorm), ModuleRows(kMlp)};

// In transformers' mistral all layers slide, regardless of layer_types.
void settle(nlohmann::json& spelled, std::vector<std::string>& notes, const std::string& file) {
  settle_layer_types(
      "mistral", [](int64_t full, int64_t) { return full == 0; }, spelled, notes, file);
}

}  // namespace

constexpr Family kMistral = {
    .model_type = "mistral",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .windows = windows_everywhere,
    .settle = settle,
    .own_head_dim = true,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 8,
                    "max_position_embeddings": 131072})",
    .unwritten_defaults = R"({"sliding_window": 4096, "bos_token_id": 1, "eos_token_id": 2})",
    .fixed = R"({"hidden_act": "silu", "attention_bias": false, "mlp_bias": false})",
};

}  // namespace ram
