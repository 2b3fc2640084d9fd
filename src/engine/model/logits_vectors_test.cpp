// Against transformers, for tiny models of every family (tests/vectors/engine/make_vectors.py):
// sources in three dtypes and quantized folders, windows, biases, tied heads, dense layers among
// expert layers, four kinds of rotary embedding. The whole text at once, and token by token.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/engine.h"
#include "ram/file.h"
#include "ram/json.h"
#include "ram/quant.h"
#include "ram/safetensors.h"

#include "support/mlx_model.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

using Json = nlohmann::json;
using testing::StoredTensors;
using testing::TempFolder;

// Sums in a different order, of logits that spread by 1.5.
constexpr double kTolerance = 1e-4;

/// The checked-in file.
class Vectors {
 public:
  Vectors() {
    const SafetensorsHeader header = read_safetensors_header(file_);
    models = Json::parse(header.metadata.at("models"));
    tensors_ = header.tensors;
  }

  template <typename T>
  std::vector<T> read(const std::string& name) const {
    for (const TensorInfo& tensor : tensors_) {
      if (tensor.name != name) continue;
      std::vector<T> values(static_cast<size_t>(tensor.elements()));
      EXPECT_EQ(tensor.bytes(), static_cast<int64_t>(values.size() * sizeof(T)));
      file_.read(tensor.begin, std::as_writable_bytes(std::span(values)));
      return values;
    }
    throw std::runtime_error("no tensor " + name);
  }

  Json models;

 private:
  InputFile file_ = InputFile(std::filesystem::path(RAM_SOURCE_DIR) / "tests" / "vectors" /
                              "engine" / "logits.safetensors");
  std::vector<TensorInfo> tensors_;
};

/// The weights that make_vectors.py's `weight` makes: splitmix64, started from an FNV-1a hash.
std::vector<float> weight(const std::string& model, const std::string& tensor, int64_t count) {
  uint64_t state = 0xcbf29ce484222325ULL;
  std::string text = model;
  text.append("/").append(tensor);
  for (const char c : text) {
    state = (state ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) {
    state += 0x9e3779b97f4a7c15ULL;
    uint64_t z = state;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    const auto byte = static_cast<int>((z ^ (z >> 31)) >> 56);
    if (tensor.ends_with("norm.weight")) {
      value = 1.0F + static_cast<float>(byte % 64 - 32) / 128.0F;
    } else {
      value = static_cast<float>(byte - 128) / (tensor.ends_with(".bias") ? 512.0F : 256.0F);
    }
  }
  return values;
}

void write_model(const std::filesystem::path& folder, const std::string& name, const Json& model) {
  const DType dtype = parse_dtype(model.at("dtype").get<std::string>()).value();
  std::optional<AffineFormat> format;
  Json config = model.at("config");
  if (!model.at("quantized").is_null()) {
    format = parse_format(model["quantized"].get<std::string>()).value();
    config["quantization"] = testing::format_json(*format);
  }
  StoredTensors tensors;
  for (const auto& [tensor, shape] : model.at("tensors").items()) {
    const TensorSpec spec = {tensor, dtype, shape.get<std::vector<int64_t>>()};
    const std::vector<float> values = weight(name, tensor, spec.elements());
    std::vector<std::byte> bytes(static_cast<size_t>(spec.bytes()));
    from_f32(values.data(), dtype, spec.elements(), bytes.data());
    if (format && spec.shape.size() > 1) {
      testing::put_encoded(tensors, spec, bytes, *format);
    } else {
      testing::put_tensor(tensors, tensor, dtype, spec.shape, std::move(bytes));
    }
  }
  testing::write_mlx_model(folder, config, tensors);
}

double largest_difference(std::span<const float> found, std::span<const float> expected) {
  EXPECT_EQ(found.size(), expected.size());
  double largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double difference = std::abs(static_cast<double>(found[i]) - expected[i]);
    largest = std::isnan(difference) ? INFINITY : std::max(largest, difference);
  }
  return largest;
}

class LogitVectors : public ::testing::TestWithParam<std::string> {
 protected:
  LogitVectors() { write_model(folder_.path(), GetParam(), vectors_.models.at(GetParam())); }

  LanguageModel open() const {
    return {Checkpoint::open(folder_.path().string(), Quantized::kAccept), {.threads = 2}};
  }

  Vectors vectors_;
  TempFolder folder_;
  TokenRow ids_ = vectors_.read<int32_t>(GetParam() + ".ids");
  std::vector<float> expected_ = vectors_.read<float>(GetParam() + ".logits");
};

TEST_P(LogitVectors, a_text_gives_the_logits_of_transformers) {
  LanguageModel model = open();
  HiddenRows hidden = model.embed(std::span(&ids_, 1));
  model.run_layers(hidden, 0, model.layers());
  const Matrix logits = model.logits(hidden.front());
  ASSERT_EQ(logits.rows(), std::ssize(ids_));
  const auto count = static_cast<size_t>(logits.rows() * logits.cols());
  EXPECT_LT(largest_difference({logits.data(), count}, expected_), kTolerance);
}

TEST_P(LogitVectors, token_by_token_gives_them_too) {
  LanguageModel model = open();
  Decoder decoder(model, std::ssize(ids_));
  std::vector<float> found;
  for (const int32_t id : ids_) {
    const std::span<const float> logits = decoder.feed(std::span(&id, 1));
    found.insert(found.end(), logits.begin(), logits.end());
  }
  EXPECT_LT(largest_difference(found, expected_), kTolerance);
}

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  const Vectors vectors;
  for (const auto& [name, model] : vectors.models.items()) names.push_back(name);
  return names;
}

std::string test_name(const ::testing::TestParamInfo<std::string>& model) {
  std::string name = model.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Models, LogitVectors, ::testing::ValuesIn(model_names()), test_name);

TEST(LogitVectorsFile, holds_every_family) {
  std::vector<std::string> families;
  const Vectors vectors;
  for (const auto& [name, model] : vectors.models.items()) {
    families.push_back(model.at("config").at("model_type"));
  }
  for (const std::string family :
       {"llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "qwen2_moe", "mixtral"}) {
    EXPECT_NE(std::find(families.begin(), families.end(), family), families.end()) << family;
  }
}

}  // namespace
}  // namespace ram
