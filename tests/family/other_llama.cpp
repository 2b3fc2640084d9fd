// Llama with other names, as a new family's file in src/checkpoint/families/ would have them: the
// example of docs/architecture.md.
#include "families/common.h"
#include "family/test_families.h"

namespace ram {
namespace {

constexpr std::array kLayer = {ModuleRows(kInputNorm), ModuleRows(kPlainAttention),
                               ModuleRows(kPostNorm), ModuleRows(kMlp)};

constexpr std::array<FileName, 12> kNames = {{
    {"model.embed_tokens", "transformer.wte"},
    {"model.norm", "transformer.ln_f"},
    {"lm_head", "output"},
    {"model.layers.{l}.input_layernorm", "transformer.h.{l}.ln_1"},
    {"model.layers.{l}.self_attn.q_proj", "transformer.h.{l}.attn.q"},
    {"model.layers.{l}.self_attn.k_proj", "transformer.h.{l}.attn.k"},
    {"model.layers.{l}.self_attn.v_proj", "transformer.h.{l}.attn.v"},
    {"model.layers.{l}.self_attn.o_proj", "transformer.h.{l}.attn.out"},
    {"model.layers.{l}.post_attention_layernorm", "transformer.h.{l}.ln_2"},
    {"model.layers.{l}.mlp.gate_proj", "transformer.h.{l}.mlp.gate"},
    {"model.layers.{l}.mlp.up_proj", "transformer.h.{l}.mlp.up"},
    {"model.layers.{l}.mlp.down_proj", "transformer.h.{l}.mlp.down"},
}};

}  // namespace

constexpr Family kOtherLlama = {
    .model_type = "other_llama",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .names = kNames,
    .own_head_dim = true,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06,
                    "max_position_embeddings": 2048})",
    .fixed = R"({"hidden_act": "silu", "attention_bias": false, "mlp_bias": false})",
};

}  // namespace ram
