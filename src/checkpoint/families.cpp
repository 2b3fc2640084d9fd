// The table of families. A new architecture is a row of kFamilies, with blocks of modules of its
// own where the ones here do not fit; tensors stored in another shape get a Layout (families.h) and
// a Reshape (ram/checkpoint.h). Names of modules are mlx_lm's, names of tensors the files'.
//
// @source mlx_lm 0.32, models/{llama,qwen2,qwen3,qwen3_moe,qwen2_moe,mixtral}.py: modules,
// `sanitize`, `quant_predicate`; transformers 5.23, models/*/configuration_*.py (defaults) and
// conversion_mapping.py (packed experts).
#include "families.h"

#include <algorithm>
#include <array>

namespace ram {
namespace {

using Rows = std::span<const ModuleRow>;

constexpr std::array kEmbedding = {
    ModuleRow{.module = "model.embed_tokens",
              .role = Role::kEmbedding,
              .rows = Dim::kVocab,
              .cols = Dim::kHidden},
};

constexpr std::array kFinal = {
    ModuleRow{
        .module = "model.norm", .role = Role::kNorm, .kind = Kind::kVector, .cols = Dim::kHidden},
    ModuleRow{.module = "lm_head",
              .role = Role::kHead,
              .rows = Dim::kVocab,
              .cols = Dim::kHidden,
              .when = When::kUntied},
};

constexpr std::array kInputNorm = {
    ModuleRow{.module = "model.layers.{l}.input_layernorm",
              .role = Role::kNorm,
              .kind = Kind::kVector,
              .cols = Dim::kHidden},
};

constexpr std::array kPostNorm = {
    ModuleRow{.module = "model.layers.{l}.post_attention_layernorm",
              .role = Role::kNorm,
              .kind = Kind::kVector,
              .cols = Dim::kHidden},
};

/// Grouped-query attention; `qkv` and `out` say when the projections carry biases.
constexpr std::array<ModuleRow, 4> attention(Bias qkv, Bias out) {
  return {{
      {.module = "model.layers.{l}.self_attn.q_proj",
       .role = Role::kAttention,
       .rows = Dim::kQuery,
       .cols = Dim::kHidden,
       .bias = qkv},
      {.module = "model.layers.{l}.self_attn.k_proj",
       .role = Role::kAttention,
       .rows = Dim::kKeyValue,
       .cols = Dim::kHidden,
       .bias = qkv},
      {.module = "model.layers.{l}.self_attn.v_proj",
       .role = Role::kAttention,
       .rows = Dim::kKeyValue,
       .cols = Dim::kHidden,
       .bias = qkv},
      {.module = "model.layers.{l}.self_attn.o_proj",
       .role = Role::kAttention,
       .rows = Dim::kHidden,
       .cols = Dim::kQuery,
       .bias = out},
  }};
}
constexpr auto kAttention = attention(Bias::kIfAttentionBias, Bias::kIfAttentionBias);
constexpr auto kPlainAttention = attention(Bias::kNever, Bias::kNever);
constexpr auto kBiasedAttention = attention(Bias::kAlways, Bias::kNever);

constexpr std::array kHeadNorms = {
    ModuleRow{.module = "model.layers.{l}.self_attn.q_norm",
              .role = Role::kNorm,
              .kind = Kind::kVector,
              .cols = Dim::kHeadDim},
    ModuleRow{.module = "model.layers.{l}.self_attn.k_norm",
              .role = Role::kNorm,
              .kind = Kind::kVector,
              .cols = Dim::kHeadDim},
};

/// The dense SwiGLU block.
constexpr std::array<ModuleRow, 3> dense_mlp(Bias bias, When when) {
  return {{
      {.module = "model.layers.{l}.mlp.gate_proj",
       .role = Role::kMlp,
       .rows = Dim::kIntermediate,
       .cols = Dim::kHidden,
       .bias = bias,
       .when = when},
      {.module = "model.layers.{l}.mlp.up_proj",
       .role = Role::kMlp,
       .rows = Dim::kIntermediate,
       .cols = Dim::kHidden,
       .bias = bias,
       .when = when},
      {.module = "model.layers.{l}.mlp.down_proj",
       .role = Role::kMlp,
       .rows = Dim::kHidden,
       .cols = Dim::kIntermediate,
       .bias = bias,
       .when = when},
  }};
}
constexpr auto kLlamaMlp = dense_mlp(Bias::kIfMlpBias, When::kAlways);
constexpr auto kMlp = dense_mlp(Bias::kNever, When::kAlways);
constexpr auto kMlpOfDenseLayers = dense_mlp(Bias::kNever, When::kDenseLayer);

// Experts one by one as on the hub, packed as transformers 5 may save them, or stacked as
// mlx_lm.convert without -q writes them.
constexpr std::array<Source, 3> kGateSources = {{
    {"model.layers.{l}.mlp.experts.{e}.gate_proj.weight", Layout::kPerExpert},
    {"model.layers.{l}.mlp.experts.gate_up_proj", Layout::kPackedFirst},
    {"model.layers.{l}.mlp.switch_mlp.gate_proj.weight", Layout::kStacked},
}};
constexpr std::array<Source, 3> kUpSources = {{
    {"model.layers.{l}.mlp.experts.{e}.up_proj.weight", Layout::kPerExpert},
    {"model.layers.{l}.mlp.experts.gate_up_proj", Layout::kPackedSecond},
    {"model.layers.{l}.mlp.switch_mlp.up_proj.weight", Layout::kStacked},
}};
constexpr std::array<Source, 3> kDownSources = {{
    {"model.layers.{l}.mlp.experts.{e}.down_proj.weight", Layout::kPerExpert},
    {"model.layers.{l}.mlp.experts.down_proj", Layout::kStacked},
    {"model.layers.{l}.mlp.switch_mlp.down_proj.weight", Layout::kStacked},
}};

constexpr std::array kExperts = {
    ModuleRow{.module = "model.layers.{l}.mlp.switch_mlp.gate_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kExpertWidth,
              .cols = Dim::kHidden,
              .when = When::kExpertLayer,
              .sources = kGateSources},
    ModuleRow{.module = "model.layers.{l}.mlp.switch_mlp.up_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kExpertWidth,
              .cols = Dim::kHidden,
              .when = When::kExpertLayer,
              .sources = kUpSources},
    ModuleRow{.module = "model.layers.{l}.mlp.switch_mlp.down_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kHidden,
              .cols = Dim::kExpertWidth,
              .when = When::kExpertLayer,
              .sources = kDownSources},
};

/// @source mlx_lm 0.32, models/qwen3_moe.py, `quant_predicate`: the router is {8, 64}
constexpr std::array kQwen3Router = {
    ModuleRow{.module = "model.layers.{l}.mlp.gate",
              .role = Role::kRouter,
              .rows = Dim::kExperts,
              .cols = Dim::kHidden,
              .when = When::kExpertLayer,
              .uniform_rule = AffineFormat{.bits = 8, .group_size = 64}},
};

constexpr std::array kQwen2Router = {
    ModuleRow{.module = "model.layers.{l}.mlp.gate",
              .role = Role::kRouter,
              .rows = Dim::kExperts,
              .cols = Dim::kHidden,
              .when = When::kExpertLayer},
};

// The gate in front of the shared expert decides as a router does: one wrong row, every token feels
// it.
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

// Mixtral's block has a name of its own, except in what transformers 5 packs.
constexpr std::array<Source, 2> kMixtralRouterSources = {{
    {"model.layers.{l}.block_sparse_moe.gate.weight", Layout::kWhole},
    {"model.layers.{l}.mlp.gate.weight", Layout::kWhole},
}};
constexpr std::array<Source, 3> kMixtralGateSources = {{
    {"model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight", Layout::kPerExpert},
    {"model.layers.{l}.mlp.experts.gate_up_proj", Layout::kPackedFirst},
    {"model.layers.{l}.block_sparse_moe.switch_mlp.gate_proj.weight", Layout::kStacked},
}};
constexpr std::array<Source, 3> kMixtralUpSources = {{
    {"model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight", Layout::kPerExpert},
    {"model.layers.{l}.mlp.experts.gate_up_proj", Layout::kPackedSecond},
    {"model.layers.{l}.block_sparse_moe.switch_mlp.up_proj.weight", Layout::kStacked},
}};
constexpr std::array<Source, 3> kMixtralDownSources = {{
    {"model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight", Layout::kPerExpert},
    {"model.layers.{l}.mlp.experts.down_proj", Layout::kStacked},
    {"model.layers.{l}.block_sparse_moe.switch_mlp.down_proj.weight", Layout::kStacked},
}};

constexpr std::array kMixtralExperts = {
    ModuleRow{.module = "model.layers.{l}.block_sparse_moe.gate",
              .role = Role::kRouter,
              .rows = Dim::kExperts,
              .cols = Dim::kHidden,
              .sources = kMixtralRouterSources},
    ModuleRow{.module = "model.layers.{l}.block_sparse_moe.switch_mlp.gate_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kIntermediate,
              .cols = Dim::kHidden,
              .sources = kMixtralGateSources},
    ModuleRow{.module = "model.layers.{l}.block_sparse_moe.switch_mlp.up_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kIntermediate,
              .cols = Dim::kHidden,
              .sources = kMixtralUpSources},
    ModuleRow{.module = "model.layers.{l}.block_sparse_moe.switch_mlp.down_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kHidden,
              .cols = Dim::kIntermediate,
              .sources = kMixtralDownSources},
};

// NOLINTNEXTLINE(readability-function-size): one table, a row per family
const std::vector<Family>& table() {
  static const std::vector<Rows> kBefore = {kEmbedding};
  static const std::vector<Rows> kAfter = {kFinal};
  static const std::vector<Family> kFamilies = {
      {.model_type = "llama",
       .before = kBefore,
       .layer = {kInputNorm, kAttention, kPostNorm, kLlamaMlp},
       .after = kAfter,
       .own_head_dim = true,
       .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06,
                       "max_position_embeddings": 2048})",
       .unwritten_defaults = R"({"bos_token_id": 1, "eos_token_id": 2})",
       .fixed = R"({"hidden_act": "silu"})"},
      {.model_type = "mistral",
       .before = kBefore,
       .layer = {kInputNorm, kPlainAttention, kPostNorm, kMlp},
       .after = kAfter,
       .own_head_dim = true,
       .window = WindowRule::kAlways,
       .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 8,
                       "max_position_embeddings": 131072})",
       .unwritten_defaults = R"({"sliding_window": 4096, "bos_token_id": 1, "eos_token_id": 2})",
       .fixed = R"({"hidden_act": "silu", "attention_bias": false, "mlp_bias": false})"},
      {.model_type = "qwen2",
       .before = kBefore,
       .layer = {kInputNorm, kBiasedAttention, kPostNorm, kMlp},
       .after = kAfter,
       .window = WindowRule::kLaterLayers,
       .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 32,
                       "max_position_embeddings": 32768})",
       .unwritten_defaults = R"({"sliding_window": 4096, "max_window_layers": 28})",
       .fixed = R"({"hidden_act": "silu"})"},
      {.model_type = "qwen3",
       .before = kBefore,
       .layer = {kInputNorm, kPlainAttention, kHeadNorms, kPostNorm, kMlp},
       .after = kAfter,
       .own_head_dim = true,
       .window = WindowRule::kLaterLayers,
       .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 32,
                       "max_position_embeddings": 32768, "head_dim": 128})",
       .unwritten_defaults = R"({"sliding_window": 4096, "max_window_layers": 28})",
       .fixed = R"({"hidden_act": "silu", "attention_bias": false})"},
      {.model_type = "qwen3_moe",
       .before = kBefore,
       .layer = {kInputNorm, kPlainAttention, kHeadNorms, kPostNorm, kMlpOfDenseLayers,
                 kQwen3Router, kExperts},
       .after = kAfter,
       .sparsity = Sparsity::kConfigured,
       .own_head_dim = true,
       .window = WindowRule::kIfUsed,
       .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 4,
                       "max_position_embeddings": 32768, "num_experts_per_tok": 8,
                       "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": false})",
       .unwritten_defaults = R"({"sliding_window": 4096})",
       .fixed = R"({"hidden_act": "silu", "attention_bias": false})"},
      {.model_type = "qwen2_moe",
       .before = kBefore,
       .layer = {kInputNorm, kBiasedAttention, kPostNorm, kQwen2Router, kExperts, kSharedExpert},
       .after = kAfter,
       .sparsity = Sparsity::kAllInMlx,
       .may_be_tied = false,
       .only_linear_rope = true,
       .window = WindowRule::kEvenEarlierLayers,
       .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 16,
                       "max_position_embeddings": 32768, "num_experts_per_tok": 4,
                       "decoder_sparse_step": 1, "mlp_only_layers": [], "norm_topk_prob": false})",
       .unwritten_defaults = R"({"sliding_window": 4096, "max_window_layers": 28})",
       .fixed = R"({"hidden_act": "silu", "norm_topk_prob": false, "qkv_bias": true})"},
      {.model_type = "mixtral",
       .before = kBefore,
       .layer = {kInputNorm, kPlainAttention, kPostNorm, kMixtralExperts},
       .after = kAfter,
       .sparsity = Sparsity::kAll,
       .window = WindowRule::kAlways,
       .routing = ExpertRouting::kTopKThenSoftmax,
       .defaults = R"({"rope_theta": 1000000.0, "rms_norm_eps": 1e-05, "num_key_value_heads": 8,
                       "max_position_embeddings": 131072, "num_experts_per_tok": 2,
                       "num_local_experts": 8})",
       .unwritten_defaults = R"({"bos_token_id": 1, "eos_token_id": 2})",
       .fixed = R"({"hidden_act": "silu"})"},
  };
  return kFamilies;
}

}  // namespace

std::span<const Family> families() {
  return table();
}

const Family* find_family(std::string_view model_type) {
  const auto all = families();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Family& family) {
    return family.model_type == model_type;
  });
  return found == all.end() ? nullptr : &*found;
}

bool is_derived_tensor(std::string_view name) {
  // @source mlx_lm 0.32, models/llama.py, `sanitize`; older files keep such tables of sines as well
  return name.find(".rotary_emb.") != std::string_view::npos;
}

}  // namespace ram
