// A tiny model whose projections are stored in FP8 blocks, like DeepSeek's and Qwen's FP8
// checkpoints, and the same model decoded.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include "ram/dtype.h"
#include "ram/file.h"
#include "ram/safetensors.h"

#include "support/tiny_model.h"

namespace ram::testing {

/// The value of a code other than NaN, by the definition of E4M3.
inline float e4m3_value(unsigned code) {
  const int exponent = static_cast<int>(code >> 3 & 15U);
  const auto mantissa = static_cast<float>(code & 7U) / 8;
  const float size =
      exponent == 0 ? std::ldexp(mantissa, -6) : std::ldexp(1 + mantissa, exponent - 7);
  return (code & 128U) != 0 ? -size : size;
}

/// The content of a file of tensors; `bytes` are concatenated in the order of `specs`.
struct RawTensors {
  std::vector<TensorSpec> specs;
  std::string bytes;

  template <class Element>
  void add(const std::string& name, DType dtype, std::vector<int64_t> shape,
           const std::vector<Element>& values) {
    specs.push_back({name, dtype, std::move(shape)});
    bytes.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(Element));
  }

  void write(const std::filesystem::path& path) const {
    write_file_atomic(path, render_safetensors_header(specs, {{"format", "pt"}}) + bytes);
  }
};

/// Writes the model of `m`, whose dtype is bf16, into `stored` in FP8 blocks and into `decoded` in
/// bf16; both have the same weights. Norms, biases, embedding and head stay bf16.
/// @param scale_dtype kF32 or kBF16.
inline void write_fp8_model(const std::filesystem::path& stored,
                            const std::filesystem::path& decoded, const TinyModel& m,
                            DType scale_dtype = DType::kF32) {
  RawTensors fp8;
  RawTensors plain;
  for (const TensorSpec& spec : tiny_model_tensors(m)) {
    std::vector<float> values = tiny_model_values(m, spec);
    std::vector<uint16_t> words(values.size());
    if (spec.name.find("_proj.weight") == std::string::npos) {
      for (size_t i = 0; i < values.size(); ++i) words[i] = f32_to_bf16(values[i]);
      fp8.add(spec.name, DType::kBF16, spec.shape, words);
      plain.add(spec.name, DType::kBF16, spec.shape, words);
      continue;
    }
    const int64_t cols = spec.shape.at(1);
    const int64_t down = (spec.shape.at(0) + 127) / 128;
    const int64_t across = (cols + 127) / 128;
    std::vector<float> scales(static_cast<size_t>(down * across));
    for (size_t i = 0; i < scales.size(); ++i) {
      // Seven bits of mantissa, so that bf16 represents it too.
      scales[i] = std::ldexp(static_cast<float>(64 + (i * 29 + spec.name.size() * 13) % 64), -14);
    }
    std::vector<uint8_t> codes(values.size());
    for (size_t i = 0; i < values.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      // Any code except NaN; mostly near the middle, as in real weights.
      const auto spread = static_cast<unsigned>(std::fabs(values[i]) * 700);
      codes[i] = static_cast<uint8_t>(std::min(spread, 126U) | (values[i] < 0 ? 128U : 0U));
      const float scale = scales[static_cast<size_t>(at / cols / 128 * across + at % cols / 128)];
      words[i] = f32_to_bf16(e4m3_value(codes[i]) * scale);
    }
    fp8.add(spec.name, DType::kF8E4M3, spec.shape, codes);
    std::vector<uint16_t> narrow(scales.size());
    for (size_t i = 0; i < scales.size(); ++i) narrow[i] = f32_to_bf16(scales[i]);
    const std::string name = spec.name + "_scale_inv";
    if (scale_dtype == DType::kF32) {
      fp8.add(name, scale_dtype, {down, across}, scales);
    } else {
      fp8.add(name, scale_dtype, {down, across}, narrow);
    }
    plain.add(spec.name, DType::kBF16, spec.shape, words);
  }
  write_tiny_model(stored, m);
  write_tiny_model(decoded, m);
  fp8.write(stored / "model.safetensors");
  plain.write(decoded / "model.safetensors");
  nlohmann::json config = tiny_model_config(m);
  config["quantization_config"] = {{"quant_method", "fp8"},
                                   {"fmt", "e4m3"},
                                   {"activation_scheme", "dynamic"},
                                   {"weight_block_size", {128, 128}},
                                   {"modules_to_not_convert", {"lm_head"}}};
  write_file_atomic(stored / "config.json", config.dump());
}

}  // namespace ram::testing
