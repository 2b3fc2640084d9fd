// What the forward pass needs to know of a model besides its weights: each layer's attention and
// its mlp or experts, and what all layers share: sizes, norms, positions, special ids. Read from
// config.json in either spelling, with transformers 5's defaults for missing keys. Part of the
// module `checkpoint`.
//
// @source transformers 5.23, models/*/configuration_*.py, modeling_rope_utils.py
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace ram {

/// How the frequencies of the rotary embedding are scaled; transformers' rope_type.
enum class RopeType : uint8_t { kDefault, kLinear, kLlama3, kYarn, kDynamic, kLongrope };

/// Rotary embedding, halves rotated against each other. Fields that a type does not use keep their
/// defaults.
struct RopeConfig {
  RopeType type = RopeType::kDefault;
  double theta = 10000;  ///< base of the wavelengths; > 0
  /// How far positions are stretched, > 0. kLinear, kLlama3, kYarn, kDynamic, kLongrope; by
  /// default, for yarn and longrope: max_positions / original_max_positions.
  double factor = 1;
  double low_freq_factor = 1;          ///< kLlama3; > 0
  double high_freq_factor = 4;         ///< kLlama3; > 0
  int64_t original_max_positions = 0;  ///< kLlama3, kYarn, kLongrope: before stretching
  double beta_fast = 32;               ///< kYarn: rotations above which nothing is stretched; > 0
  double beta_slow = 1;                ///< kYarn: rotations below which all is stretched; > 0
  std::optional<double> attention_factor;  ///< kYarn, kLongrope: what cos and sin are multiplied by
  std::optional<double> mscale;            ///< kYarn; not 0. Counts only with mscale_all_dim, and
  std::optional<double> mscale_all_dim;    ///< only without attention_factor
  bool truncate = true;  ///< kYarn: the bounds of the ramp are rounded to whole dimensions

  friend bool operator==(const RopeConfig&, const RopeConfig&) = default;
};

/// How a router's scores become weights of the chosen experts.
enum class ExpertRouting : uint8_t {
  kSoftmaxThenTopK,  ///< softmax over all experts, then the largest, renormalised if requested
  kTopKThenSoftmax,  ///< the largest scores, then softmax over these: the former renormalised
};

/// How a layer mixes the tokens of a sequence.
enum class AttentionKind : uint8_t {
  kGroupedQuery,  ///< causal softmax attention; groups of query heads share keys and values
};

struct AttentionConfig {
  AttentionKind kind = AttentionKind::kGroupedQuery;
  int64_t heads = 0;      ///< of queries
  int64_t kv_heads = 0;   ///< of keys and values; divides heads
  int64_t key_dim = 0;    ///< of a head's queries and keys
  int64_t value_dim = 0;  ///< of a head's values and outputs
  int64_t window = 0;     ///< the latest keys that a query sees, its own included; 0: all
  RopeConfig rope;
  int64_t rotated = 0;      ///< leading dimensions of a head that rope rotates; even
  bool head_norms = false;  ///< each head of queries and keys is normalised before rotation
};

struct ExpertConfig {
  int64_t count = 0;
  int64_t per_token = 0;     ///< 1 to count
  int64_t width = 0;         ///< of one expert's mlp
  int64_t shared_width = 0;  ///< of the shared expert's mlp; 0: there is none
  ExpertRouting routing = ExpertRouting::kSoftmaxThenTopK;
  bool renormalise = false;  ///< the chosen experts' weights add up to 1
};

struct LayerConfig {
  AttentionConfig attention;
  int64_t mlp_width = 0;                ///< of a dense layer's mlp; 0 if there are experts
  std::optional<ExpertConfig> experts;  ///< instead of the dense mlp
};

struct ModelConfig {
  std::string model_type;
  int64_t hidden = 0;  ///< width of the residual stream
  int64_t vocab = 0;
  std::vector<LayerConfig> layers;

  double rms_norm_eps = 0;    ///< >= 0
  int64_t max_positions = 0;  ///< max_position_embeddings
  bool tied_head = false;     ///< the embedding is the head
  /// Ids that end a text: from generation_config.json if it has any, else from config.json.
  /// Negative ids, which some files use for "none", are left out.
  std::vector<int32_t> eos_ids;
  std::optional<int32_t> bos_id;  ///< the id that begins a text, from config.json

  const LayerConfig& layer(int index) const { return layers.at(static_cast<size_t>(index)); }
};

}  // namespace ram
