// The output's config.json: both spellings, and one entry per module that mlx_lm could quantize.
#include <algorithm>
#include <array>
#include <string>

#include "ram/checkpoint.h"
#include "ram/error.h"
#include "ram/json_tree.h"

#include "json_text.h"

namespace ram {
namespace {

using Json = nlohmann::json;

const char* torch_name(DType dtype) {
  RAM_CHECK(is_weight_dtype(dtype));
  return dtype == DType::kF32 ? "float32" : dtype == DType::kF16 ? "float16" : "bfloat16";
}

Json format_entry(AffineFormat format) {
  return {{"group_size", format.group_size}, {"bits", format.bits}, {"mode", "affine"}};
}

/// The most common format of the units; among equals the first of kAffineFormats.
AffineFormat commonest(std::span<const std::optional<AffineFormat>> formats) {
  std::array<int, kFormatCount> counts = {};
  for (const auto& format : formats) {
    if (!format) continue;
    const int index = format_index(*format);
    RAM_CHECK(index >= 0);
    ++counts.at(static_cast<size_t>(index));
  }
  return kAffineFormats.at(
      static_cast<size_t>(std::max_element(counts.begin(), counts.end()) - counts.begin()));
}

}  // namespace

std::string render_config(const Checkpoint& checkpoint,
                          std::span<const std::optional<AffineFormat>> formats, DType dtype) {
  RAM_CHECK(formats.size() == checkpoint.units.size());
  RAM_CHECK(checkpoint.spelled_config != nullptr);
  Json config = **checkpoint.spelled_config;
  config["torch_dtype"] = torch_name(dtype);
  config["dtype"] = torch_name(dtype);
  config["tie_word_embeddings"] = checkpoint.tied_embeddings;
  const bool any = std::any_of(formats.begin(), formats.end(),
                               [](const auto& format) { return format.has_value(); });
  if (!any) return render_json(config);

  Json quantization = format_entry(commonest(formats));
  for (size_t i = 0; i < formats.size(); ++i) {
    const Unit& unit = checkpoint.units[i];
    RAM_CHECK(unit.quantizable || !formats[i]);
    // Always written: the format of a module without an entry differs between versions of mlx_lm.
    if (unit.quantizable)
      quantization[unit.name] = formats[i] ? format_entry(*formats[i]) : Json(false);
  }
  config["quantization_config"] = quantization;
  config["quantization"] = std::move(quantization);
  return render_json(config);
}

}  // namespace ram
