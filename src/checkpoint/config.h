// config.json, read in either spelling and checked: the sizes that the table of units is held
// against.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "ram/dtype.h"

#include "families.h"

namespace ram {

struct ModelConfig {
  const Family* family = nullptr;
  std::string model_type;
  int64_t layers = 0;
  int64_t experts = 0;       ///< 0 for a dense family
  std::optional<bool> tied;  ///< nothing: config.json does not say
  bool attention_bias = false;
  bool mlp_bias = false;
  std::vector<bool> expert_layer;  ///< per layer
  std::optional<DType> dtype;      ///< torch_dtype or dtype, if it is a weight dtype
  std::vector<int64_t> sizes;      ///< indexed by Dim

  int64_t size(Dim dim) const { return sizes.at(static_cast<size_t>(dim)); }

  /// config.json spelled so that mlx_lm and transformers 4 and 5 read the same: the hub's keys and
  /// transformers 5's side by side, defaults written out; nothing about number formats.
  nlohmann::json spelled;
};

/// @param file named in messages.
/// @throws Error{kCorrupt} not JSON, a key missing or absurd; {kUnsupported} unknown model_type, a
///         source that is already quantized, a setting that mlx_lm would not follow.
ModelConfig parse_config(std::string_view text, const std::string& file);

}  // namespace ram
