// The number formats that config.json gives a finished MLX folder's modules, by mlx_lm's rules.
#pragma once

#include <optional>
#include <string>

#include "ram/checkpoint.h"
#include "ram/json.h"
#include "ram/quant.h"

namespace ram {

/// What `quantization` (or `quantization_config`) says. Empty for an unquantized model.
class StoredFormats {
 public:
  /// Reads and checks the top level.
  /// @param config config.json.
  /// @param file   named in messages.
  /// @throws Error{kUnsupported} quantized, and `quantized` refuses that; another program's
  /// quantization, another mode than affine, no format of ours; {kCorrupt} not as MLX writes it.
  static StoredFormats parse(const nlohmann::json& config, Quantized quantized,
                             const std::string& file);

  /// @return true if any module may be quantized.
  bool any() const { return !settings_.is_null(); }
  Quantized quantized() const { return quantized_; }

  /// @param module     mlx_lm's path.
  /// @param has_scales the files hold "<module>.scales".
  /// @return the format it is stored in; nothing: unquantized.
  /// @throws as parse, for the module's own entry.
  /// @source mlx_lm 0.32, utils.py, `load_model`
  std::optional<AffineFormat> format_of(const std::string& module, bool has_scales) const;

 private:
  Quantized quantized_ = Quantized::kRefuse;
  nlohmann::json settings_;  // null: unquantized
  AffineFormat common_;
  std::string file_;
};

}  // namespace ram
