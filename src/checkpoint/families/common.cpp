#include "families/common.h"

#include <algorithm>

#include "ram/error.h"

namespace ram {
namespace {

using Json = nlohmann::json;

std::vector<int64_t> none(int64_t layers) {
  return std::vector<int64_t>(static_cast<size_t>(layers), 0);
}

}  // namespace

std::vector<bool> configured_expert_layers(const Keys& keys, int64_t layers,
                                           const std::string& file) {
  // @source transformers 5.23, models/qwen3_moe/modeling_qwen3_moe.py, Qwen3MoeDecoderLayer
  std::vector<bool> sparse(static_cast<size_t>(layers));
  const int64_t step = keys.integer("decoder_sparse_step", 1, kMaxLayers);
  for (int64_t i = 0; i < layers; ++i) sparse[static_cast<size_t>(i)] = (i + 1) % step == 0;
  const Json* dense = keys.find("mlp_only_layers");
  if (dense != nullptr && !dense->is_array()) {
    fail(Code::kCorrupt, "mlp_only_layers is {}: a list of layers is allowed ({})",
         Keys::text_of(*dense), file);
  }
  for (const Json& layer : dense != nullptr ? *dense : Json::array()) {
    sparse[static_cast<size_t>(keys.in_range("mlp_only_layers", layer, 0, layers - 1))] = false;
  }
  return sparse;
}

// Source of everything below:
// @source transformers 5.23, models/*/configuration_*.py, `__post_init__`, and modeling_*.py, where
// masks are made

std::vector<int64_t> windows_everywhere(const Keys& keys, int64_t layers, const std::string&) {
  std::vector<int64_t> windows = none(layers);
  if (keys.find("sliding_window") == nullptr) return windows;
  windows.assign(windows.size(), keys.integer("sliding_window", 1, kMaxPositions));
  return windows;
}

std::vector<int64_t> windows_if_used(const Keys& keys, int64_t layers, const std::string& file) {
  return keys.boolean("use_sliding_window", false) ? windows_everywhere(keys, layers, file)
                                                   : none(layers);
}

std::vector<int64_t> windows_by_layer(const Keys& keys, int64_t layers, const std::string& file,
                                      SlidesFn slides_by_default) {
  std::vector<int64_t> windows = none(layers);
  const bool used = keys.boolean("use_sliding_window", false);
  const Json* types = keys.find("layer_types");
  if (types != nullptr && (!types->is_array() || types->size() != windows.size())) {
    fail(Code::kCorrupt, "layer_types is not a list of {} layers ({})", layers, file);
  }
  const Json* window = used ? keys.find("sliding_window") : nullptr;
  const int64_t max_window_layers =
      window != nullptr && types == nullptr ? keys.integer("max_window_layers", 0, INT64_MAX) : 0;
  for (int64_t layer = 0; layer < layers; ++layer) {
    bool slides = window != nullptr && slides_by_default(layer, max_window_layers);
    if (types != nullptr) {
      const Json& type = (*types)[static_cast<size_t>(layer)];
      const auto* name = type.get_ptr<const std::string*>();
      slides = name != nullptr && *name == "sliding_attention";
      if (!slides && (name == nullptr || *name != "full_attention")) {
        fail(Code::kUnsupported,
             "layer_types has {}: full_attention and sliding_attention are supported ({})",
             Keys::text_of(type), file);
      }
    }
    if (!slides) continue;
    if (window == nullptr) {
      fail(Code::kCorrupt,
           "layer_types has sliding_attention, but use_sliding_window and sliding_window give no "
           "window ({})",
           file);
    }
    windows[static_cast<size_t>(layer)] =
        keys.in_range("sliding_window", *window, 1, kMaxPositions);
  }
  return windows;
}

std::vector<int64_t> windows_of_later_layers(const Keys& keys, int64_t layers,
                                             const std::string& file) {
  return windows_by_layer(keys, layers, file, [](int64_t layer, int64_t max_window_layers) {
    return layer >= max_window_layers;
  });
}

void settle_layer_types(std::string_view model_type, bool (*fits)(int64_t full, int64_t layers),
                        Json& spelled, std::vector<std::string>& notes, const std::string& file) {
  const Json* types = Keys(spelled, file).find("layer_types");
  if (types == nullptr) return;
  const int64_t layers = Keys(spelled, file).integer("num_hidden_layers", 1, kMaxLayers);
  const bool one_each = types->is_array() && types->size() == static_cast<size_t>(layers);
  const auto full = one_each ? std::count(types->begin(), types->end(), Json("full_attention")) : 0;
  if (fits(full, layers)) return;
  notes.push_back(fmt::format(
      "config.json sets layer_types; the finished folder leaves it out: transformers' {} model "
      "computes without it, and mlx_lm would {}",
      model_type, full > 0 ? "let some layers slide" : "refuse the folder"));
  spelled.erase("layer_types");
}

}  // namespace ram
