// config.json, read in either spelling and checked: the sizes that the table of units must match.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ram/dtype.h"
#include "ram/json.h"
#include "ram/json_tree.h"
#include "ram/model_config.h"

#include "families.h"
#include "quantization.h"

namespace ram {

struct ParsedConfig {
  ParsedConfig() = default;
  ~ParsedConfig() { clear_json(spelled); }
  ParsedConfig(ParsedConfig&&) noexcept = default;
  ParsedConfig& operator=(ParsedConfig&&) = delete;

  const Family* family = nullptr;
  /// All but tied_head, which also depends on the files; eos_ids are config.json's.
  ModelConfig model;
  std::optional<bool> tied;  ///< nothing: config.json does not say
  bool attention_bias = false;
  bool mlp_bias = false;
  std::vector<DType> dtypes;   ///< of torch_dtype, then of dtype if that differs
  StoredFormats stored;        ///< of a finished MLX folder
  std::vector<int64_t> sizes;  ///< indexed by Dim

  int64_t size(Dim dim) const { return sizes.at(static_cast<size_t>(dim)); }

  std::vector<std::string> notes;  ///< keys that `spelled` leaves out, and why

  /// config.json spelled so that mlx_lm and transformers 4 and 5 read the same: the hub's keys and
  /// transformers 5's side by side, defaults written out; without number formats.
  nlohmann::json spelled;
};

/// @param file named in messages.
/// @param known the supported families.
/// @throws Error{kCorrupt} not JSON, a key missing or absurd; {kUnsupported} unknown model_type, a
///         source that is already quantized (where that is refused), a setting that mlx_lm would
///         not follow.
ParsedConfig parse_config(std::string_view text, const std::string& file,
                          Quantized quantized = Quantized::kRefuse, FamilyTable known = families());

/// Values for the forward pass, from a config that has all keys (ParsedConfig::spelled) and whose
/// sizes are already read. @throws Error{kCorrupt} a value missing or absurd; {kUnsupported}
/// another kind of attention in layer_types.
void read_model_config(ParsedConfig& config, const std::string& file);

/// eos_token_id of a config: one id, a list, or null.
/// @throws Error{kCorrupt} anything else.
std::vector<int32_t> read_eos_ids(const nlohmann::json& object, const std::string& file);

}  // namespace ram
