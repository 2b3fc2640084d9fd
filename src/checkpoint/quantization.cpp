#include "quantization.h"

#include "ram/error.h"
#include "ram/safetensors.h"

#include "elements.h"
#include "keys.h"

namespace ram {
namespace {

using Json = nlohmann::json;

// @source MLX 0.32, mx.quantize: affine's defaults if a module's entry omits them
constexpr int64_t kDefaultBits = 4;
constexpr int64_t kDefaultGroupSize = 64;

/// Python's truth value, which mlx_lm tests.
bool says_nothing(const Json& value) {
  return value.is_null() || value == false || value.empty();
}

/// FP8 in blocks of the supported size, as DeepSeek, Qwen and MiniMax publish it. Scales of
/// activations would be tensors that no family has.
bool is_fp8_blocks(const Json& settings) {
  if (!settings.is_object() || settings.value("quant_method", Json()) != "fp8") return false;
  const Json activations = settings.value("activation_scheme", Json());
  return settings.value("weight_block_size", Json()) == Json::array({kFp8Block, kFp8Block}) &&
         (activations.is_null() || activations == "dynamic");
}

[[noreturn]] void refuse_source(const Json& value, const char* key, const std::string& file) {
  std::string method;
  if (value.is_object() && value.contains("quant_method") && value["quant_method"].is_string()) {
    method = " with " + printable(value["quant_method"].get<std::string>());
  }
  fail(Code::kUnsupported,
       "the model is already quantized{} (key {}): give the original, unquantized model ({})",
       method, key, file);
}

/// @param where start of the messages: "quantization", or that and the module's path.
AffineFormat read_format(const Json& entry, const std::string& where, bool may_be_open,
                         const std::string& file) {
  const Keys keys(entry, file);
  const Json* mode = keys.find("mode");
  if (mode != nullptr && *mode != "affine") {
    fail(Code::kUnsupported,
         "{}: mode is {}: only MLX's affine format is supported; convert the original with "
         "'mlx_lm.convert -q' or 'ram fit' ({})",
         where, Keys::text_of(*mode), file);
  }
  const auto read = [&](const char* key, int64_t otherwise) {
    if (may_be_open && keys.find(key) == nullptr) return static_cast<int>(otherwise);
    if (keys.find(key) == nullptr) fail(Code::kCorrupt, "{}: {} is missing ({})", where, key, file);
    return static_cast<int>(keys.in_range(where + "." + key, *keys.find(key), 1, 1 << 20));
  };
  const AffineFormat format = {.bits = read("bits", kDefaultBits),
                               .group_size = read("group_size", kDefaultGroupSize)};
  if (format_index(format) < 0) {
    fail(Code::kUnsupported,
         "{}: bits {} and group_size {}: bits 2, 3, 4, 5, 6 or 8 and group_size 32, 64 or 128 are "
         "supported ({})",
         where, format.bits, format.group_size, file);
  }
  return format;
}

}  // namespace

StoredFormats StoredFormats::parse(const Json& config, Quantized quantized,
                                   const std::string& file) {
  StoredFormats stored;
  stored.quantized_ = quantized;
  stored.file_ = file;
  const auto inner = config.find("text_config");
  if (inner != config.end() && inner->is_object() && inner->contains("quantization_config") &&
      !says_nothing((*inner)["quantization_config"]) && !config.contains("quantization_config") &&
      Keys(config, file).find("quantization") == nullptr) {
    // mlx_lm obeys it here too.
    refuse_source((*inner)["quantization_config"], "text_config.quantization_config", file);
  }
  for (const char* key : {"quantization", "quantization_config"}) {
    const auto at = config.find(key);
    if (at == config.end() || at->is_null() || at->empty()) continue;
    if (std::string_view(key) == "quantization_config" && is_fp8_blocks(*at)) {
      stored.fp8_blocks_ = true;
      return stored;
    }
    if (quantized == Quantized::kRefuse) refuse_source(*at, key, file);
    if (!at->is_object()) {
      fail(Code::kCorrupt, "{} is {}: an object is allowed ({})", key, Keys::text_of(*at), file);
    }
    // mlx_lm looks at quantization first, regardless of quantization_config, but reads only the
    // latter for the method.
    if (std::string_view(key) == "quantization_config" && at->contains("quant_method")) {
      fail(Code::kUnsupported,
           "the model is quantized with {} (key {}): only unquantized weights and MLX's affine "
           "format are supported ({})",
           Keys::text_of((*at)["quant_method"]), key, file);
    }
    stored.common_ = read_format(*at, key, false, file);
    stored.settings_ = *at;
    return stored;
  }
  return stored;
}

std::optional<AffineFormat> StoredFormats::format_of(const std::string& module,
                                                     std::optional<AffineFormat> shapes) const {
  if (!any()) return std::nullopt;
  const auto at = settings_.find(module);
  if (at == settings_.end()) {
    // If the shapes match no format, use the top level's: the check then reports them by name.
    return shapes && format_index(*shapes) < 0 ? common_ : shapes;
  }
  if (at->is_boolean()) return at->get<bool>() ? std::optional(common_) : std::nullopt;
  if (!at->is_object()) {
    fail(Code::kCorrupt, "quantization of {} is {}: an object, true or false is allowed ({})",
         module, Keys::text_of(*at), file_);
  }
  return read_format(*at, "quantization of " + module, true, file_);
}

}  // namespace ram
