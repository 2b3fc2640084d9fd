// The families: for each model_type, which modules a model has, what their tensors are called in
// the files, and what they are to us. See families.cpp for the table and how to add a row.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/model_config.h"
#include "ram/quant.h"

namespace ram {

/// A size of a module, as config.json gives it.
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

/// Where the matrices of a module lie in the tensors of the files. With R x C the module's matrix
/// and E the number of experts. A family whose tensors need more (transposed, split by head, FP8
/// blocks) gets a value here and a Reshape in ram/checkpoint.h that reads it.
enum class Layout : uint8_t {
  kWhole,         ///< one tensor [R, C], or [C] for a vector
  kPerExpert,     ///< E tensors [R, C]; "{e}" in the name is the expert
  kStacked,       ///< one tensor [E, R, C]
  kPackedFirst,   ///< one tensor [E, 2R, C]: of each expert the first R rows
  kPackedSecond,  ///< ... the last R rows
};

/// One way that files store a module's weight. "{l}" in the name is the layer.
struct Source {
  std::string_view name;
  Layout layout = Layout::kWhole;
};

enum class Kind : uint8_t {
  kMatrix,  ///< Linear or Embedding: may be quantized
  kStack,   ///< all experts of one projection, one stacked linear in mlx_lm: may be quantized
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
  Bias bias = Bias::kNever;
  When when = When::kAlways;
  /// The first whose tensor is there counts; empty: "<module>.weight", whole.
  std::span<const Source> sources = {};
  std::optional<AffineFormat> uniform_rule = std::nullopt;
};

/// Which layers have experts.
enum class Sparsity : uint8_t {
  kDense,       ///< none
  kAll,         ///< all, in transformers and mlx_lm
  kAllInMlx,    ///< mlx_lm: all; a config that makes some dense cannot be loaded there
  kConfigured,  ///< decoder_sparse_step and mlp_only_layers say which
};

/// Which layers' queries see a window of keys only, where layer_types does not say.
enum class WindowRule : uint8_t {
  kNever,              ///< none
  kAlways,             ///< all, if sliding_window is there
  kIfUsed,             ///< all, if use_sliding_window
  kLaterLayers,        ///< those from max_window_layers on, if use_sliding_window
  kEvenEarlierLayers,  ///< the 1st, 3rd, ... below max_window_layers, if use_sliding_window
};

struct Family {
  std::string_view model_type;
  std::vector<std::span<const ModuleRow>> before;  ///< embedding
  std::vector<std::span<const ModuleRow>> layer;   ///< every layer
  std::vector<std::span<const ModuleRow>> after;   ///< norm, head
  Sparsity sparsity = Sparsity::kDense;
  bool own_head_dim =
      false;                ///< mlx_lm reads head_dim; else it is hidden_size / num_attention_heads
  bool may_be_tied = true;  ///< mlx_lm can use the embedding as head
  bool only_linear_rope = false;  ///< mlx_lm knows no other rope scaling here
  WindowRule window = WindowRule::kNever;
  ExpertRouting routing = ExpertRouting::kSoftmaxThenTopK;
  /// What transformers takes where config.json lacks a key, as JSON; written out for mlx_lm, whose
  /// own defaults differ or are missing.
  std::string_view defaults;
  /// The same for keys whose null is a value of its own; not written out.
  std::string_view unwritten_defaults;
  /// Keys whose value, if given, must be this one, as JSON: mlx_lm ignores them and computes so.
  std::string_view fixed;
};

/// @return the row of this model_type, or null.
const Family* find_family(std::string_view model_type);

/// @return all rows, in the order of the table.
std::span<const Family> families();

/// @return true for a tensor that no family loads: tables that programs work out themselves.
bool is_derived_tensor(std::string_view name);

}  // namespace ram
