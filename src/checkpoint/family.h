// Description of a family: the modules of its models, the names of their tensors in the files,
// their roles, and the differences of its config.json. Each has a file in families/; families.h is
// the table of them. How to add one: docs/architecture.md.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/json.h"
#include "ram/model_config.h"
#include "ram/quant.h"

#include "keys.h"
#include "layout.h"

namespace ram {

/// A size of a module, given by config.json.
enum class Dim : uint8_t {
  kNone,  ///< a vector has no rows
  kOne,
  kHidden,    ///< hidden_size
  kVocab,     ///< vocab_size
  kQuery,     ///< num_attention_heads * head_dim
  kKeyValue,  ///< num_key_value_heads * head_dim
  kHeadDim,
  kIntermediate,  ///< intermediate_size
  kExpertWidth,   ///< moe_intermediate_size
  kSharedWidth,   ///< shared_expert_intermediate_size
  kExperts,       ///< num_experts or num_local_experts
};

/// A step of a layout, in terms of the model's sizes.
struct Step {
  StepKind kind = StepKind::kSlice;
  Dim others = Dim::kNone;  ///< kFirstRows, kLastRows: the rows that do not belong to the part
};

/// One way in which files store a module's weight. "{l}" in the name is the layer, "{e}" the part;
/// with "{e}" every part has its own tensor. The steps lead from a tensor to the part's matrix and
/// so determine the tensor's required shape; without steps the tensor is the matrix.
struct Source {
  std::string_view name;
  std::span<const Step> steps = {};
};

enum class Kind : uint8_t {
  kMatrix,  ///< Linear or Embedding: may be quantized
  kStack,   ///< matrices in one stacked linear of mlx_lm (experts, heads): may be quantized
  kVector,  ///< a norm's weight: never
};

enum class When : uint8_t { kAlways, kDenseLayer, kExpertLayer, kUntied };

enum class Bias : uint8_t { kNever, kAlways, kIfAttentionBias, kIfMlpBias };

/// One module of a model.
struct ModuleRow {
  std::string_view module;  ///< mlx_lm's path; "{l}" is the layer
  Role role = Role::kOther;
  Kind kind = Kind::kMatrix;
  Dim rows = Dim::kNone;
  Dim cols = Dim::kNone;
  Dim parts = Dim::kExperts;  ///< kStack: how many matrices
  Bias bias = Bias::kNever;
  When when = When::kAlways;
  /// The first whose tensor exists is used; empty: "<module>.weight", whole (see FileName).
  std::span<const Source> sources = {};
  std::optional<AffineFormat> uniform_rule = std::nullopt;
};

/// A module that the files name differently from mlx_lm: its weight is "<file>.weight", its bias
/// "<file>.bias". Files with mlx_lm's names are read too.
struct FileName {
  std::string_view module;  ///< as in ModuleRow
  std::string_view file;    ///< "{l}" is the layer
};

/// @param layers num_hidden_layers; keys and file are config.json's, all keys filled in.
/// @return per layer: whether it has experts instead of the dense mlp.
using ExpertLayersFn = std::vector<bool> (*)(const Keys& keys, int64_t layers,
                                             const std::string& file);

/// The same arguments. @return per layer: AttentionConfig::window.
using WindowsFn = std::vector<int64_t> (*)(const Keys& keys, int64_t layers,
                                           const std::string& file);

/// Adapts the output's config.json, with a note for each change.
using SettleFn = void (*)(nlohmann::json& spelled, std::vector<std::string>& notes,
                          const std::string& file);

using ModuleRows = std::span<const ModuleRow>;

/// Everything specific to a family. Points to constants of its file.
struct Family {
  std::string_view model_type;
  // Its modules, in the order of the model.
  std::span<const ModuleRows> before;  ///< embedding
  std::span<const ModuleRows> layer;   ///< every layer
  std::span<const ModuleRows> after;   ///< norm, head
  std::span<const FileName> names = {};
  // How its config.json is read, beyond what all share (config.cpp, model_config.cpp).
  ExpertLayersFn expert_layers = nullptr;  ///< null: a dense family
  WindowsFn windows = nullptr;             ///< null: every query sees all keys before it
  SettleFn settle = nullptr;               ///< null: nothing to adapt
  bool own_head_dim =
      false;                ///< mlx_lm reads head_dim; else it is hidden_size / num_attention_heads
  bool may_be_tied = true;  ///< mlx_lm can use the embedding as head
  bool only_linear_rope = false;  ///< mlx_lm knows no other rope scaling here
  ExpertRouting routing = ExpertRouting::kSoftmaxThenTopK;
  /// transformers' defaults for keys that config.json lacks, as JSON; written out for mlx_lm, whose
  /// own defaults differ or are missing.
  std::string_view defaults;
  /// The same for keys where null is a separate value; not written out.
  std::string_view unwritten_defaults = "{}";
  /// Keys whose value, if given, must be this one, as JSON: mlx_lm ignores them and computes this
  /// way.
  std::string_view fixed = "{}";
};

/// The supported families: pointers to constants.
using FamilyTable = std::span<const Family* const>;

/// @return the family of this model_type, or null.
const Family* find_family(FamilyTable families, std::string_view model_type);

/// One way in which files may store a module's weight, by its full name.
struct NamedSource {
  std::string name;  ///< "{l}" and "{e}" as in Source
  std::span<const Step> steps = {};
};

/// @return the ways in which files may store a module's weight; the first that exists is used.
std::vector<NamedSource> sources_of(const Family& family, const ModuleRow& row);

/// @return a module's path in the files, the family's own name first, mlx_lm's last.
std::vector<std::string_view> file_paths(const Family& family, std::string_view module);

/// @return the possible names of the weight of the embedding or of the head, in the order of
/// sources_of. @pre role is kEmbedding or kHead.
std::vector<std::string> weight_names(const Family& family, Role role);

/// @return true for a tensor that no family loads: tables that programs compute themselves.
bool is_derived_tensor(std::string_view name);

}  // namespace ram
