// The table of architectures, one row per model_type of src/checkpoint/families.cpp.
#include <algorithm>
#include <array>
#include <string_view>

#include "ram/error.h"

#include "arch/blocks.h"

namespace ram {
namespace {

struct Architecture {
  std::string_view model_type;
  LayerStagesFn stages;
};

constexpr std::array kArchitectures = {
    Architecture{"llama", llama_stages},        Architecture{"mistral", llama_stages},
    Architecture{"qwen2", llama_stages},        Architecture{"qwen3", llama_stages},
    Architecture{"qwen3_moe", qwen_moe_stages}, Architecture{"qwen2_moe", qwen_moe_stages},
    Architecture{"mixtral", mixtral_stages},
};

}  // namespace

LayerStagesFn layer_stages_of(std::string_view model_type) {
  const auto row =
      std::find_if(kArchitectures.begin(), kArchitectures.end(),
                   [model_type](const Architecture& r) { return r.model_type == model_type; });
  if (row == kArchitectures.end()) {
    fail(Code::kUnsupported, "model_type {}: models of it can be planned and built, but not run",
         model_type);
  }
  return row->stages;
}

}  // namespace ram
