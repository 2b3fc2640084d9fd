// Llama: biases where config.json requests them.
#include "families.h"
#include "families/common.h"

namespace ram {
namespace {

constexpr auto kAttentionWithBiases = attention(Bias::kIfAttentionBias, Bias::kIfAttentionBias);
constexpr auto kBiasedMlp = dense_mlp(Bias::kIfMlpBias, When::kAlways);
constexpr std::array kLayer = {ModuleRows(kInputNorm), ModuleRows(kAttentionWithBiases),
                               ModuleRows(kPostNorm), ModuleRows(kBiasedMlp)};

// transformers' llama ignores layer_types: all layers see everything.
void settle(nlohmann::json& spelled, std::vector<std::string>& notes, const std::string& file) {
  settle_layer_types(
      "llama", [](int64_t full, int64_t layers) { return full == layers; }, spelled, notes, file);
}

}  // namespace

constexpr Family kLlama = {
    .model_type = "llama",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .settle = settle,
    .own_head_dim = true,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06,
                    "max_position_embeddings": 2048})",
    .unwritten_defaults = R"({"bos_token_id": 1, "eos_token_id": 2})",
    .fixed = R"({"hidden_act": "silu"})",
};

}  // namespace ram
