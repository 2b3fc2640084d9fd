// From a config with all its keys to the values for the forward pass. Every value is the one that
// transformers computes with; where mlx_lm differs, parse_config has rejected the model or the
// difference is documented (docs/formats/checkpoint.md).
#include "ram/model_config.h"

#include <algorithm>
#include <array>
#include <utility>

#include "ram/error.h"

#include "config.h"
#include "keys.h"

namespace ram {
namespace {

using Json = nlohmann::json;

RopeType rope_type(const Json& name) {
  static constexpr std::array<std::pair<std::string_view, RopeType>, 6> kNames = {
      {{"default", RopeType::kDefault},
       {"linear", RopeType::kLinear},
       {"llama3", RopeType::kLlama3},
       {"yarn", RopeType::kYarn},
       {"dynamic", RopeType::kDynamic},
       {"longrope", RopeType::kLongrope}}};
  const auto text = name.get<std::string>();
  const auto at = std::find_if(kNames.begin(), kNames.end(),
                               [&](const auto& entry) { return entry.first == text; });
  RAM_CHECK(at != kNames.end());  // spell_rope has rejected others
  return at->second;
}

/// A number that counts as absent if it is 0, as in Python's truth values.
std::optional<double> number_unless_zero(const Keys& keys, std::string_view key) {
  const Json* value = keys.find(key);
  if (value == nullptr || *value == 0) return std::nullopt;
  return keys.positive(key);
}

/// @source transformers 5.23, modeling_rope_utils.py, `_compute_*_parameters`
RopeConfig read_rope(const Json& parameters, int64_t max_positions, const std::string& file) {
  const Keys keys(parameters, file);
  RopeConfig rope;
  rope.type = rope_type(parameters.at("rope_type"));
  rope.theta = keys.positive("rope_theta");
  if (rope.type == RopeType::kDefault) return rope;
  const bool yarn = rope.type == RopeType::kYarn;
  const bool longrope = rope.type == RopeType::kLongrope;
  if (yarn || longrope || rope.type == RopeType::kLlama3) {
    rope.original_max_positions =
        keys.integer("original_max_position_embeddings", 1, kMaxPositions);
  }
  if ((yarn || longrope) && keys.find("factor") == nullptr) {
    rope.factor =
        static_cast<double>(max_positions) / static_cast<double>(rope.original_max_positions);
  } else {
    rope.factor = keys.positive("factor");
  }
  if (rope.type == RopeType::kLlama3) {
    rope.low_freq_factor = keys.positive("low_freq_factor", rope.low_freq_factor);
    rope.high_freq_factor = keys.positive("high_freq_factor", rope.high_freq_factor);
  }
  if ((yarn || longrope) && keys.find("attention_factor") != nullptr) {
    rope.attention_factor = keys.positive("attention_factor");
  }
  if (yarn) {
    rope.beta_fast = number_unless_zero(keys, "beta_fast").value_or(rope.beta_fast);
    rope.beta_slow = number_unless_zero(keys, "beta_slow").value_or(rope.beta_slow);
    rope.mscale = number_unless_zero(keys, "mscale");
    rope.mscale_all_dim = number_unless_zero(keys, "mscale_all_dim");
    rope.truncate = keys.boolean("truncate", true);
  }
  return rope;
}

/// Heads and their sizes, the same in every layer.
AttentionConfig read_attention(const ParsedConfig& config, const std::string& file) {
  AttentionConfig attention;
  attention.key_dim = config.size(Dim::kHeadDim);
  attention.value_dim = attention.key_dim;
  attention.rotated = attention.key_dim;
  attention.heads = config.size(Dim::kQuery) / attention.key_dim;
  attention.kv_heads = config.size(Dim::kKeyValue) / attention.key_dim;
  if (attention.heads % attention.kv_heads != 0) {
    fail(Code::kCorrupt, "num_attention_heads {} is not a multiple of num_key_value_heads {} ({})",
         attention.heads, attention.kv_heads, file);
  }
  for (const auto& block : config.family->layer) {
    for (const ModuleRow& row : block) {
      if (row.module.ends_with(".q_norm")) attention.head_norms = true;
    }
  }
  return attention;
}

/// Experts, the same in every layer that has any.
ExpertConfig read_experts(const ParsedConfig& config, const Keys& keys) {
  const Family& family = *config.family;
  const int64_t own = config.size(Dim::kExpertWidth);
  const int64_t count = config.size(Dim::kExperts);
  return {.count = count,
          .per_token = keys.integer("num_experts_per_tok", 1, count),
          .width = own > 0 ? own : config.size(Dim::kIntermediate),
          .shared_width = config.size(Dim::kSharedWidth),
          .routing = family.routing,
          .renormalise = family.routing == ExpertRouting::kTopKThenSoftmax ||
                         keys.boolean("norm_topk_prob", false)};
}

std::optional<int32_t> read_id(const Keys& keys, std::string_view key, const Json& value) {
  const int64_t id = keys.in_range(key, value, INT32_MIN, INT32_MAX);
  return id < 0 ? std::nullopt : std::optional(static_cast<int32_t>(id));
}

}  // namespace

std::vector<int32_t> read_eos_ids(const Json& object, const std::string& file) {
  const Keys keys(object, file);
  const Json* value = keys.find("eos_token_id");
  std::vector<int32_t> ids;
  if (value == nullptr) return ids;
  for (const Json& id : value->is_array() ? *value : Json::array({*value})) {
    const auto known = read_id(keys, "eos_token_id", id);
    if (known) ids.push_back(*known);
  }
  return ids;
}

void read_model_config(ParsedConfig& config, const std::string& file) {
  const Family& family = *config.family;
  Json filled = parse_json(family.unwritten_defaults, "a family's defaults");
  filled.update(config.spelled);
  const Keys keys(filled, file);
  ModelConfig& model = config.model;
  model.hidden = config.size(Dim::kHidden);
  model.vocab = config.size(Dim::kVocab);
  const AttentionConfig attention = read_attention(config, file);
  const auto experts =
      config.size(Dim::kExperts) > 0 ? std::optional(read_experts(config, keys)) : std::nullopt;
  for (LayerConfig& layer : model.layers) {
    layer.attention = attention;
    if (layer.experts) {
      layer.experts = experts;
    } else {
      layer.mlp_width = config.size(Dim::kIntermediate);
    }
  }
  const Json& epsilon = keys.get("rms_norm_eps");
  if (!Keys::is_finite(epsilon) || !(epsilon.get<double>() >= 0)) {
    fail(Code::kCorrupt, "rms_norm_eps is {}: a number from 0 up is allowed ({})",
         Keys::text_of(epsilon), file);
  }
  model.rms_norm_eps = epsilon.get<double>();
  model.max_positions = keys.integer("max_position_embeddings", 1, kMaxPositions);
  if (family.windows != nullptr) {
    const std::vector<int64_t> windows = family.windows(keys, std::ssize(model.layers), file);
    for (size_t layer = 0; layer < windows.size(); ++layer) {
      model.layers[layer].attention.window = windows[layer];
    }
  }
  const RopeConfig rope =
      read_rope(config.spelled.at("rope_parameters"), model.max_positions, file);
  for (LayerConfig& layer : model.layers) layer.attention.rope = rope;
  model.eos_ids = read_eos_ids(filled, file);
  const Json* bos = keys.find("bos_token_id");
  if (bos != nullptr) model.bos_id = read_id(keys, "bos_token_id", *bos);
}

}  // namespace ram
