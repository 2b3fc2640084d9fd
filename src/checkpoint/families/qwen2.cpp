// Qwen2: biases on q, k and v.
#include "families.h"
#include "families/common.h"

namespace ram {
namespace {

constexpr std::array kLayer = {ModuleRows(kInputNorm), ModuleRows(kBiasedAttention),
                               ModuleRows(kPostNorm), ModuleRows(kMlp)};

}  // namespace

constexpr Family kQwen2 = {
    .model_type = "qwen2",
    .before = kBefore,
    .layer = kLayer,
    .after = kAfter,
    .windows = windows_of_later_layers,
    .defaults = R"({"rope_theta": 10000.0, "rms_norm_eps": 1e-06, "num_key_value_heads": 32,
                    "max_position_embeddings": 32768})",
    .unwritten_defaults = R"({"sliding_window": 4096, "max_window_layers": 28})",
    .fixed = R"({"hidden_act": "silu"})",
};

}  // namespace ram
