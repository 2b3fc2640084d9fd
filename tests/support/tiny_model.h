// Tiny random models with real layouts for tests: every family, both spellings of config.json,
// every way to store experts. Names are written here separately from src/checkpoint/families/, so
// that the tests check those independently. Values depend only on seed, tensor name and position.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/dtype.h"
#include "ram/json.h"
#include "ram/safetensors.h"

#include "support/random_values.h"

namespace ram::testing {

enum class Spelling { kHub, kTransformers5 };

/// How experts are stored: one tensor each (the hub), packed as transformers 5 may save them, or
/// stacked under mlx_lm's names (what mlx_lm.convert without -q writes).
enum class ExpertLayout { kSeparate, kPacked, kMlx };

struct TinyModel {
  std::string model_type = "llama";  // mistral, qwen2, qwen3, qwen3_moe, qwen2_moe, mixtral
  int64_t hidden = 64;
  int64_t layers = 2;
  int64_t heads = 2;
  int64_t kv_heads = 1;
  int64_t intermediate = 128;
  int64_t vocab = 96;
  int64_t experts = 4;
  int64_t expert_width = 64;   // moe_intermediate_size; mixtral uses intermediate
  int64_t shared_width = 128;  // shared_expert_intermediate_size
  bool tied = false;
  bool attention_bias = false;             // llama only; qwen2 and qwen2_moe always have theirs
  std::vector<int64_t> dense_layers = {};  // qwen3_moe: mlp_only_layers
  Spelling spelling = Spelling::kHub;
  ExpertLayout expert_layout = ExpertLayout::kSeparate;
  DType dtype = DType::kBF16;
  uint64_t seed = 1;
  int shards = 1;
  bool index = true;  // with several shards
  /// Changes values before they are stored (NaN, zero rows, ...).
  std::function<void(const std::string& name, std::vector<float>& values)> edit = {};

  int64_t head_dim() const { return hidden / heads; }
  bool moe() const {
    return model_type == "qwen3_moe" || model_type == "qwen2_moe" || model_type == "mixtral";
  }
};

/// Writes a safetensors file; values(spec) gives each tensor's elements, stored in the spec's
/// dtype.
void write_tensors(const std::filesystem::path& path, std::span<const TensorSpec> specs,
                   const std::function<std::vector<float>(const TensorSpec&)>& values,
                   const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

/// The model's tensors in a fixed order.
std::vector<TensorSpec> tiny_model_tensors(const TinyModel& m);

/// The values of one of its tensors.
std::vector<float> tiny_model_values(const TinyModel& m, const TensorSpec& spec);

nlohmann::json tiny_model_config(const TinyModel& m);

/// Writes config.json, the weights (in `shards` files) and a small tokenizer into `folder`, which
/// is created. @return the tensors written.
std::vector<TensorSpec> write_tiny_model(const std::filesystem::path& folder, const TinyModel& m);

}  // namespace ram::testing
