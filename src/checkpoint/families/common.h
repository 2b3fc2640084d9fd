// Shared by several families: blocks of modules, and rules of config.json. Names of modules are
// mlx_lm's, names of tensors the files'.
//
// @source mlx_lm 0.32, models/{llama,qwen2,qwen3,qwen3_moe,qwen2_moe,mixtral}.py: modules,
// `sanitize`, `quant_predicate`; transformers 5.23, models/*/configuration_*.py (defaults) and
// conversion_mapping.py (packed experts).
#pragma once

#include <array>

#include "family.h"

namespace ram {

inline constexpr std::array kEmbedding = {
    ModuleRow{.module = "model.embed_tokens",
              .role = Role::kEmbedding,
              .rows = Dim::kVocab,
              .cols = Dim::kHidden},
};

inline constexpr std::array kFinal = {
    ModuleRow{
        .module = "model.norm", .role = Role::kNorm, .kind = Kind::kVector, .cols = Dim::kHidden},
    ModuleRow{.module = "lm_head",
              .role = Role::kHead,
              .rows = Dim::kVocab,
              .cols = Dim::kHidden,
              .when = When::kUntied},
};

inline constexpr std::array kInputNorm = {
    ModuleRow{.module = "model.layers.{l}.input_layernorm",
              .role = Role::kNorm,
              .kind = Kind::kVector,
              .cols = Dim::kHidden},
};

inline constexpr std::array kPostNorm = {
    ModuleRow{.module = "model.layers.{l}.post_attention_layernorm",
              .role = Role::kNorm,
              .kind = Kind::kVector,
              .cols = Dim::kHidden},
};

/// Grouped-query attention; `qkv` and `out` say which projections have biases.
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
inline constexpr auto kPlainAttention = attention(Bias::kNever, Bias::kNever);
inline constexpr auto kBiasedAttention = attention(Bias::kAlways, Bias::kNever);

inline constexpr std::array kHeadNorms = {
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
inline constexpr auto kMlp = dense_mlp(Bias::kNever, When::kAlways);
inline constexpr auto kMlpOfDenseLayers = dense_mlp(Bias::kNever, When::kDenseLayer);

/// The router of a layer's experts.
/// @param uniform_rule the format that mlx_lm.convert -q gives it; nothing: the common format.
constexpr std::array<ModuleRow, 1> router(std::optional<AffineFormat> uniform_rule = std::nullopt) {
  return {{{.module = "model.layers.{l}.mlp.gate",
            .role = Role::kRouter,
            .rows = Dim::kExperts,
            .cols = Dim::kHidden,
            .when = When::kExpertLayer,
            .uniform_rule = uniform_rule}}};
}

// Layouts of experts: one tensor [E, R, C], or [E, 2R, C] with two projections.
inline constexpr std::array kStacked = {Step{StepKind::kSlice}};
inline constexpr std::array kFirstOfPacked = {Step{StepKind::kSlice}, Step{StepKind::kFirstHalf}};
inline constexpr std::array kSecondOfPacked = {Step{StepKind::kSlice}, Step{StepKind::kSecondHalf}};

// Separate experts as on the hub, packed as transformers 5 may save them, or stacked as
// mlx_lm.convert without -q writes them.
inline constexpr std::array<Source, 3> kGateSources = {{
    {"model.layers.{l}.mlp.experts.{e}.gate_proj.weight"},
    {"model.layers.{l}.mlp.experts.gate_up_proj", kFirstOfPacked},
    {"model.layers.{l}.mlp.switch_mlp.gate_proj.weight", kStacked},
}};
inline constexpr std::array<Source, 3> kUpSources = {{
    {"model.layers.{l}.mlp.experts.{e}.up_proj.weight"},
    {"model.layers.{l}.mlp.experts.gate_up_proj", kSecondOfPacked},
    {"model.layers.{l}.mlp.switch_mlp.up_proj.weight", kStacked},
}};
inline constexpr std::array<Source, 3> kDownSources = {{
    {"model.layers.{l}.mlp.experts.{e}.down_proj.weight"},
    {"model.layers.{l}.mlp.experts.down_proj", kStacked},
    {"model.layers.{l}.mlp.switch_mlp.down_proj.weight", kStacked},
}};

inline constexpr std::array kExperts = {
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

/// Before and after the layers of every family.
inline constexpr std::array kBefore = {ModuleRows(kEmbedding)};
inline constexpr std::array kAfter = {ModuleRows(kFinal)};

/// Experts in the layers given by decoder_sparse_step and mlp_only_layers.
/// @throws Error{kCorrupt} these are absurd.
std::vector<bool> configured_expert_layers(const Keys& keys, int64_t layers,
                                           const std::string& file);

/// A window in all layers, if sliding_window exists.
std::vector<int64_t> windows_everywhere(const Keys& keys, int64_t layers, const std::string& file);

/// The same, if use_sliding_window.
std::vector<int64_t> windows_if_used(const Keys& keys, int64_t layers, const std::string& file);

/// Which layers slide if layer_types does not say.
using SlidesFn = bool (*)(int64_t layer, int64_t max_window_layers);

/// A window in the layers that layer_types names, else in those of `slides`, if use_sliding_window.
/// @throws Error{kCorrupt} no window, or layer_types of another length; {kUnsupported} another kind
/// of attention in layer_types.
std::vector<int64_t> windows_by_layer(const Keys& keys, int64_t layers, const std::string& file,
                                      SlidesFn slides);

/// windows_by_layer, from max_window_layers on.
std::vector<int64_t> windows_of_later_layers(const Keys& keys, int64_t layers,
                                             const std::string& file);

/// For mlx_lm's llama model, which makes a layer for each entry of layer_types, looks for one of
/// full attention and lets the others slide: leaves layer_types out unless `fits` says that
/// transformers computes the same.
/// @param fits given the number of full_attention entries and of all layers.
void settle_layer_types(std::string_view model_type, bool (*fits)(int64_t full, int64_t layers),
                        nlohmann::json& spelled, std::vector<std::string>& notes,
                        const std::string& file);

}  // namespace ram
