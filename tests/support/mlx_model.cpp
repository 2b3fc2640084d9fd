#include "support/mlx_model.h"

#include <cstring>

#include "ram/file.h"

namespace ram::testing {

void put_tensor(StoredTensors& out, const std::string& name, DType dtype,
                std::vector<int64_t> shape, std::vector<std::byte> bytes) {
  out[name] = {{name, dtype, std::move(shape)}, std::move(bytes)};
}

void put_encoded(StoredTensors& out, const TensorSpec& weight, const std::vector<std::byte>& bytes,
                 AffineFormat format) {
  const std::string module = weight.name.substr(0, weight.name.rfind('.'));
  const int64_t cols = weight.shape.back();
  const int64_t rows = weight.elements() / cols;
  const int64_t groups = cols / format.group_size;
  std::vector<uint32_t> words(static_cast<size_t>(rows * cols / 32 * format.bits));
  std::vector<std::byte> scales(static_cast<size_t>(rows * groups * dtype_bytes(weight.dtype)));
  std::vector<std::byte> biases = scales;
  affine_encode(bytes.data(), weight.dtype, rows, cols, format, weight.dtype, words.data(),
                scales.data(), biases.data());
  std::vector<std::byte> codes(words.size() * 4);
  std::memcpy(codes.data(), words.data(), codes.size());
  std::vector<int64_t> shape = weight.shape;
  shape.back() = cols / 32 * format.bits;
  put_tensor(out, module + ".weight", DType::kU32, shape, std::move(codes));
  shape.back() = groups;
  put_tensor(out, module + ".scales", weight.dtype, shape, std::move(scales));
  put_tensor(out, module + ".biases", weight.dtype, shape, std::move(biases));
}

StoredTensors mlx_tensors(const TinyModel& m, const FormatRule& rule) {
  StoredTensors out;
  for (const TensorSpec& spec : tiny_model_tensors(m)) {
    const std::vector<float> values = tiny_model_values(m, spec);
    std::vector<std::byte> bytes(static_cast<size_t>(spec.bytes()));
    from_f32(values.data(), spec.dtype, spec.elements(), bytes.data());
    const std::string module = spec.name.substr(0, spec.name.rfind('.'));
    const auto format = spec.shape.size() < 2 ? std::nullopt : rule(module);
    if (format) {
      put_encoded(out, spec, bytes, *format);
    } else {
      put_tensor(out, spec.name, spec.dtype, spec.shape, std::move(bytes));
    }
  }
  return out;
}

nlohmann::json format_json(AffineFormat format, bool with_mode) {
  nlohmann::json entry = {{"group_size", format.group_size}, {"bits", format.bits}};
  if (with_mode) entry["mode"] = "affine";
  return entry;
}

void write_mlx_model(const std::filesystem::path& folder, const nlohmann::json& config,
                     const StoredTensors& tensors) {
  std::filesystem::create_directories(folder);
  write_file_atomic(folder / "config.json", config.dump(2));
  std::vector<TensorSpec> specs;
  for (const auto& [name, tensor] : tensors) specs.push_back(tensor.spec);
  const std::string header = render_safetensors_header(specs, {{"format", "mlx"}});
  OutputFile file(folder / "model.safetensors");
  file.write(0, std::as_bytes(std::span(header)));
  auto offset = static_cast<int64_t>(header.size());
  for (const auto& [name, tensor] : tensors) {
    file.write(offset, tensor.bytes);
    offset += static_cast<int64_t>(tensor.bytes.size());
  }
  file.finish();
}

}  // namespace ram::testing
