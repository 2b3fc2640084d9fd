// The number formats of a finished MLX folder's modules from config.json, by mlx_lm's rules.
#pragma once

#include <optional>
#include <string>

#include "ram/checkpoint.h"
#include "ram/json.h"
#include "ram/quant.h"

namespace ram {

/// Contents of `quantization` (or `quantization_config`). Empty for an unquantized model, and for a
/// source in FP8 blocks, whose tensors are decoded as they are read.
class StoredFormats {
 public:
  /// Reads and checks the top level.
  /// @param config config.json.
  /// @param file   named in messages.
  /// @throws Error{kUnsupported} quantized other than in FP8 blocks, and `quantized` refuses that;
  /// another program's quantization, another mode than affine, an unsupported format; {kCorrupt}
  /// not as MLX writes it.
  static StoredFormats parse(const nlohmann::json& config, Quantized quantized,
                             const std::string& file);

  /// @return true if any module may be quantized.
  bool any() const { return !settings_.is_null(); }
  Quantized quantized() const { return quantized_; }
  /// @return true for a source whose matrices may be stored as StorageFormat::kFp8Blocks.
  bool fp8_blocks() const { return fp8_blocks_; }

  /// @param module mlx_lm's path.
  /// @param shapes the format implied by the shapes of the module's codes and scales, if the files
  /// hold "<module>.scales"; it is used if the module has no entry of its own. An unsupported
  /// format means that the shapes match none.
  /// @return the format in which it is stored; nothing: unquantized.
  /// @throws as parse, for the module's own entry.
  /// @source mlx_lm 0.32.2, utils.py, `load_model`
  std::optional<AffineFormat> format_of(const std::string& module,
                                        std::optional<AffineFormat> shapes) const;

 private:
  Quantized quantized_ = Quantized::kRefuse;
  bool fp8_blocks_ = false;
  nlohmann::json settings_;  // null: unquantized
  AffineFormat common_;
  std::string file_;
};

}  // namespace ram
