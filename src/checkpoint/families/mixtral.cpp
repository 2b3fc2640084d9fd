// Mixtral: experts in every layer, under different names.
#include "families.h"
#include "families/common.h"

namespace ram {
namespace {

// Mixtral's block has its own name, except in files packed by transformers 5.
constexpr std::array<Source, 2> kRouterSources = {{
    {"model.layers.{l}.block_sparse_moe.gate.weight"},
    {"model.layers.{l}.mlp.gate.weight"},
}};
constexpr std::array<Source, 3> kW1Sources = {{
    {"model.layers.{l}.block_sparse_moe.experts.{e}.w1.weight"},
    {"model.layers.{l}.mlp.experts.gate_up_proj", kFirstOfPacked},
    {"model.layers.{l}.block_sparse_moe.switch_mlp.gate_proj.weight", kStacked},
}};
constexpr std::array<Source, 3> kW3Sources = {{
    {"model.layers.{l}.block_sparse_moe.experts.{e}.w3.weight"},
    {"model.layers.{l}.mlp.experts.gate_up_proj", kSecondOfPacked},
    {"model.layers.{l}.block_sparse_moe.switch_mlp.up_proj.weight", kStacked},
}};
constexpr std::array<Source, 3> kW2Sources = {{
    {"model.layers.{l}.block_sparse_moe.experts.{e}.w2.weight"},
    {"model.layers.{l}.mlp.experts.down_proj", kStacked},
    {"model.layers.{l}.block_sparse_moe.switch_mlp.down_proj.weight", kStacked},
}};

constexpr std::array kBlock = {
    ModuleRow{.module = "model.layers.{l}.block_sparse_moe.gate",
              .role = Role::kRouter,
              .rows = Dim::kExperts,
              .cols = Dim::kHidden,
              .sources = kRouterSources},
    ModuleRow{.module = "model.layers.{l}.block_sparse_moe.switch_mlp.gate_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kIntermediate,
              .cols = Dim::kHidden,
              .sources = kW1Sources},
    ModuleRow{.module = "model.layers.{l}.block_sparse_moe.switch_mlp.up_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kIntermediate,
              .cols = Dim::kHidden,
              .sources = kW3Sources},
    ModuleRow{.module = "model.layers.{l}.block_sparse_moe.switch_mlp.down_proj",
              .role = Role::kExpert,
              .kind = Kind::kStack,
              .rows = Dim::kHidden,
              .cols = Dim::kIntermediate,
              .sources = kW2Sources},
};

constexpr std::array kLayer = {ModuleRows(kInputNorm), ModuleRows(kPlainAttention),
                               ModuleRows(kPostNorm), ModuleRows(kBlock)};

std::vector<bool> expert_layers(const Keys&, int64_t layers, const std::string&) {
  return std::vector<bool>(static_cast<size_t>(layers), true);
}

/// @source mlx_lm 0.32.2, models/mixtral.py: its rotary embedding uses only the theta
void settle(nlohmann::json& spelled, std::vector<std::string>& notes, const std::string&) {
  if (spelled["rope_scaling"].is_null()) return;
  notes.emplace_back(
      "config.json stretches positions (rope_scaling), which mlx_lm's mixtral model does not do");
}

}  // namespace

constexpr Family kMixtral = {
    .model_type = "mixtral",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .expert_layers = expert_layers,
    .windows = windows_everywhere,
    .settle = settle,
    .routing = ExpertRouting::kTopKThenSoftmax,
    .defaults = R"({"rope_theta": 1000000.0, "rms_norm_eps": 1e-05, "num_key_value_heads": 8,
                    "max_position_embeddings": 131072, "num_experts_per_tok": 2,
                    "num_local_experts": 8})",
    .unwritten_defaults = R"({"bos_token_id": 1, "eos_token_id": 2})",
    .fixed = R"({"hidden_act": "silu"})",
};

}  // namespace ram
