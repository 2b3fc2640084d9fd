// Tiny quantized models as MLX stores them, for tests: written here tensor by tensor, separately
// from src/checkpoint/mlx_layout.cpp, so that the reader is not only tested against our own writer.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "ram/json.h"
#include "ram/quant.h"
#include "ram/safetensors.h"

#include "support/tiny_model.h"

namespace ram::testing {

struct StoredTensor {
  TensorSpec spec;
  std::vector<std::byte> bytes;
};

using StoredTensors = std::map<std::string, StoredTensor>;
using FormatRule = std::function<std::optional<AffineFormat>(const std::string& module)>;

void put_tensor(StoredTensors& out, const std::string& name, DType dtype,
                std::vector<int64_t> shape, std::vector<std::byte> bytes);

/// A matrix, or a stack of them, as MLX stores it: "<module>.weight", ".scales", ".biases".
/// @param weight name "<module>.weight", dtype and shape of the matrix.
/// @param bytes  its elements.
void put_encoded(StoredTensors& out, const TensorSpec& weight, const std::vector<std::byte>& bytes,
                 AffineFormat format);

/// The model's tensors; those with two or more axes in the format that `rule` gives their module.
/// Experts should be ExpertLayout::kMlx (stacked) or kSeparate.
StoredTensors mlx_tensors(const TinyModel& m, const FormatRule& rule);

/// The entry of a format in config.json.
nlohmann::json format_json(AffineFormat format, bool with_mode = true);

/// Writes a folder with config.json as given and one file of weights.
void write_mlx_model(const std::filesystem::path& folder, const nlohmann::json& config,
                     const StoredTensors& tensors);

}  // namespace ram::testing
