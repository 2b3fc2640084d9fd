// Finished MLX folders: what is read from them, in every spelling of their config, and what is
// rejected.
#include <cmath>
#include <cstring>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/checkpoint.h"
#include "ram/error.h"

#include "config.h"
#include "support/mlx_model.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "test_support.h"

namespace ram {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using testing::ExpertLayout;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::StoredTensors;
using testing::TempFolder;
using testing::TinyModel;
using testing::unit_of;

constexpr AffineFormat kFour = {.bits = 4, .group_size = 64};
constexpr AffineFormat kSix = {.bits = 6, .group_size = 32};
constexpr const char* kHead = "lm_head";

std::optional<AffineFormat> all_four(const std::string& /*module*/) {
  return kFour;
}

/// The config of a model whose modules default to 4:64.
Json quantized_config(const TinyModel& model, const Json& entries = Json::object()) {
  Json config = testing::tiny_model_config(model);
  config["quantization"] = testing::format_json(kFour);
  config["quantization"].update(entries);
  config["quantization_config"] = config["quantization"];
  return config;
}

Checkpoint open_stored(const Json& config, const StoredTensors& tensors) {
  const TempFolder folder;
  testing::write_mlx_model(folder / "mlx", config, tensors);
  return Checkpoint::open((folder / "mlx").string(), Quantized::kAccept);
}

void expect_refused(const Json& config, const StoredTensors& tensors, Code code,
                    const std::string& reason) {
  SCOPED_TRACE(reason);
  try {
    open_stored(config, tensors);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(reason));
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
  }
}

/// All parts of a unit, decoded row by row, so that row offsets are tested too.
std::vector<float> decoded(const Checkpoint& checkpoint, const Unit& unit) {
  const AffineFormat format = unit.stored.value();
  std::vector<uint32_t> codes(static_cast<size_t>(code_words(unit.cols, format)));
  std::vector<std::byte> scales(static_cast<size_t>(scale_bytes(unit.cols, format, unit.dtype)));
  std::vector<std::byte> biases = scales;
  std::vector<float> values(static_cast<size_t>(unit.weights()));
  float* out = values.data();
  for (size_t part = 0; part < unit.parts.size(); ++part) {
    for (int64_t row = 0; row < unit.rows; ++row, out += unit.cols) {
      const int p = static_cast<int>(part);
      checkpoint.prefetch_rows(unit, p, row, 1);
      checkpoint.read_encoded_rows(unit, p, row, 1, codes.data(), scales.data(), biases.data());
      affine_decode(codes.data(), scales.data(), biases.data(), unit.dtype, 1, unit.cols, format,
                    out);
    }
  }
  return values;
}

/// The same from the tensors that were written.
std::vector<float> decoded(const StoredTensors& tensors, const Unit& unit) {
  const auto& codes = tensors.at(unit.name + ".weight").bytes;
  std::vector<uint32_t> words(codes.size() / 4);
  std::memcpy(words.data(), codes.data(), codes.size());
  std::vector<float> values(static_cast<size_t>(unit.weights()));
  affine_decode(words.data(), tensors.at(unit.name + ".scales").bytes.data(),
                tensors.at(unit.name + ".biases").bytes.data(), unit.dtype,
                unit.weights() / unit.cols, unit.cols, unit.stored.value(), values.data());
  return values;
}

TEST(QuantizedFolder, every_family_reads_what_the_files_hold) {
  for (const std::string family :
       {"llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "qwen2_moe", "mixtral"}) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      SCOPED_TRACE(family);
      const TinyModel model = {
          .model_type = family, .expert_layout = ExpertLayout::kMlx, .dtype = dtype};
      // All 18 formats that divide the rows in turn; some modules unquantized.
      size_t next = 0;
      Json entries = Json::object();
      const auto rule = [&](const std::string& module) -> std::optional<AffineFormat> {
        entries[module] = false;
        if (++next % 6 == 0) return std::nullopt;
        AffineFormat format = kAffineFormats[next % kFormatCount];
        if (format.group_size > 64) format.group_size = 64;  // all models have rows of 64
        entries[module] = testing::format_json(format);
        return format;
      };
      const StoredTensors tensors = testing::mlx_tensors(model, rule);
      const TempFolder folder;
      testing::write_mlx_model(folder / "mlx", quantized_config(model, entries), tensors);
      const Checkpoint checkpoint = Checkpoint::open((folder / "mlx").string(), Quantized::kAccept);
      int64_t bytes = 0;
      for (const auto& [name, tensor] : tensors) bytes += tensor.spec.bytes();
      EXPECT_EQ(checkpoint.bytes(), bytes);
      int stored = 0;
      for (const Unit& unit : checkpoint.units) {
        EXPECT_EQ(unit.dtype, dtype);
        EXPECT_EQ(unit.stored.has_value(), tensors.contains(unit.name + ".scales")) << unit.name;
        if (!unit.stored) continue;
        ++stored;
        EXPECT_EQ(testing::format_json(*unit.stored), entries[unit.name]);
        EXPECT_EQ(decoded(checkpoint, unit), decoded(tensors, unit)) << unit.name;
      }
      EXPECT_GT(stored, 10);
    }
  }
}

TEST(QuantizedFolder, rows_decode_to_what_was_meant) {
  const TinyModel model;
  const auto rule = [](const std::string& module) -> std::optional<AffineFormat> {
    return module == kHead ? std::optional(AffineFormat{.bits = 8, .group_size = 32}) : kFour;
  };
  const StoredTensors tensors = testing::mlx_tensors(model, rule);
  const TempFolder folder;
  const Json head = testing::format_json({.bits = 8, .group_size = 32});
  testing::write_mlx_model(folder / "mlx", quantized_config(model, {{kHead, head}}), tensors);
  const Checkpoint checkpoint = Checkpoint::open((folder / "mlx").string(), Quantized::kAccept);
  const std::vector<float> found = decoded(checkpoint, unit_of(checkpoint, kHead));
  const std::vector<float> meant =
      testing::tiny_model_values(model, {"lm_head.weight", DType::kBF16, {96, 64}});
  double worst = 0;
  for (size_t i = 0; i < meant.size(); ++i) {
    worst = std::max(worst, std::abs(static_cast<double>(found[i]) - meant[i]));
  }
  EXPECT_LT(worst, 0.005);  // deviation 0.08, 8 bits over groups of 32
}

TEST(QuantizedFolder, other_peoples_spellings_open) {
  const TinyModel model;
  const StoredTensors tensors = testing::mlx_tensors(model, all_four);
  const auto expect_four = [&](const Json& config) {
    const Checkpoint checkpoint = open_stored(config, tensors);
    for (const Unit& unit : checkpoint.units) {
      EXPECT_EQ(unit.stored.has_value(), unit.quantizable) << unit.name;
      if (unit.stored) {
        EXPECT_EQ(*unit.stored, kFour);
      }
    }
  };
  const Json plain = testing::tiny_model_config(model);
  Json config = plain;
  config["quantization"] = testing::format_json(kFour, false);
  expect_four(config);  // mode missing, no copy
  config["quantization_config"] = config["quantization"];
  expect_four(config);
  config.erase("quantization");
  expect_four(config);  // only the copy
  config = quantized_config(model, {{kHead, true}, {"model.vision.tower", {{"bits", 7}}}});
  expect_four(config);  // true: the common format; entries of modules that do not exist
  config = quantized_config(model, {{kHead, {{"bits", 4}}}});
  expect_four(config);  // omitted values take MLX's own default
  config = quantized_config(model);
  config["quantization_config"] = {{"quant_method", "gptq"}, {"bits", 4}};
  expect_four(config);  // mlx_lm looks at quantization first
}

TEST(QuantizedFolder, two_places_that_differ_are_noted) {
  const TinyModel model;
  const StoredTensors tensors = testing::mlx_tensors(model, all_four);
  Json config = quantized_config(model);
  EXPECT_THAT(open_stored(config, tensors).notes, IsEmpty());
  config["quantization_config"]["bits"] = 8;
  EXPECT_THAT(open_stored(config, tensors).notes, ElementsAre(HasSubstr("quantization is used")));
}

TEST(QuantizedFolder, what_text_config_leaves_open_or_repeats_is_no_quantization) {
  const TinyModel model;
  for (const Json& nothing : {Json(), Json(false), Json::object()}) {
    Json config = testing::tiny_model_config(model);
    config["text_config"] = {{"quantization_config", nothing}};
    EXPECT_EQ(parse_config(config.dump(), "f").model.layers.size(), 2U) << nothing;
  }
  Json config = quantized_config(model);
  config.erase("quantization_config");
  config["text_config"] = {{"quantization_config", {{"quant_method", "fp8"}}}};
  EXPECT_TRUE(parse_config(config.dump(), "f", Quantized::kAccept).stored.any());
  config.erase("quantization");
  EXPECT_THROW(parse_config(config.dump(), "f", Quantized::kAccept), Error);
}

TEST(QuantizedFolder, without_an_entry_scales_decide) {
  const TinyModel model;
  const auto no_head = [](const std::string& module) -> std::optional<AffineFormat> {
    return module == kHead ? std::nullopt : std::optional(kFour);
  };
  const StoredTensors tensors = testing::mlx_tensors(model, no_head);
  for (const Json& entries : {Json::object(), Json{{kHead, false}}}) {
    const Checkpoint checkpoint = open_stored(quantized_config(model, entries), tensors);
    EXPECT_FALSE(unit_of(checkpoint, kHead).stored);
    EXPECT_TRUE(unit_of(checkpoint, "model.embed_tokens").stored);
  }
  expect_refused(quantized_config(model, {{kHead, testing::format_json(kFour)}}), tensors,
                 Code::kCorrupt, "tensor lm_head.weight is BF16: config.json calls it quantized");
}

TEST(QuantizedFolder, without_an_entry_shapes_say_bits_and_group_size) {
  const TinyModel model;
  for (const AffineFormat other : kAffineFormats) {
    if (other.group_size > 64) continue;  // longer than the tiny model's rows
    const auto mixed = [&](const std::string& module) {
      return std::optional(module == kHead ? other : kFour);
    };
    const StoredTensors tensors = testing::mlx_tensors(model, mixed);
    const Checkpoint checkpoint = open_stored(quantized_config(model), tensors);
    EXPECT_EQ(unit_of(checkpoint, kHead).stored, other);
    EXPECT_EQ(unit_of(checkpoint, "model.embed_tokens").stored, kFour);
    // An entry takes precedence over the shapes, and is checked against them.
    const Json entry = {{kHead, testing::format_json(kFour)}};
    if (other == kFour) continue;
    expect_refused(quantized_config(model, entry), tensors, Code::kCorrupt, "lm_head.");
  }
  // Shapes that match no format are compared with the top level's.
  StoredTensors tensors = testing::mlx_tensors(model, all_four);
  auto& scales = tensors.at("lm_head.scales");
  scales.spec.shape.back() *= 3;
  scales.bytes.resize(scales.bytes.size() * 3);
  expect_refused(quantized_config(model), tensors, Code::kCorrupt, "lm_head.scales has shape");
}

TEST(QuantizedFolder, who_made_it_is_asked_in_quantization_config_only) {
  const TinyModel model;
  const StoredTensors tensors = testing::mlx_tensors(model, all_four);
  Json config = quantized_config(model);
  config["quantization"]["quant_method"] = "auto-round";
  config["quantization_config"] = config["quantization"];
  EXPECT_EQ(unit_of(open_stored(config, tensors), kHead).stored, kFour);
  config.erase("quantization");
  expect_refused(config, tensors, Code::kUnsupported, "quantized with \"auto-round\"");
}

TEST(QuantizedFolder, experts_one_by_one_are_read_too) {
  const TinyModel model = {.model_type = "mixtral", .expert_layout = ExpertLayout::kSeparate};
  const StoredTensors tensors = testing::mlx_tensors(model, all_four);
  const TempFolder folder;
  testing::write_mlx_model(folder / "mlx", quantized_config(model), tensors);
  const Checkpoint checkpoint = Checkpoint::open((folder / "mlx").string(), Quantized::kAccept);
  const Unit& unit = unit_of(checkpoint, "model.layers.1.block_sparse_moe.switch_mlp.up_proj");
  ASSERT_EQ(unit.stored, kFour);
  const std::vector<float> all = decoded(checkpoint, unit);
  for (int64_t e = 0; e < model.experts; ++e) {
    Unit one = unit;
    one.name = "model.layers.1.block_sparse_moe.experts." + std::to_string(e) + ".w3";
    one.parts.resize(1);
    const auto first = all.begin() + e * unit.part_weights();
    EXPECT_EQ(std::vector<float>(first, first + unit.part_weights()), decoded(tensors, one));
  }
}

TEST(QuantizedFolder, a_source_that_is_to_be_quantized_may_not_be) {
  const TinyModel model;
  const TempFolder folder;
  testing::write_mlx_model(folder / "mlx", quantized_config(model),
                           testing::mlx_tensors(model, all_four));
  try {
    Checkpoint::open((folder / "mlx").string());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUnsupported);
    EXPECT_THAT(error.what(), HasSubstr("the model is already quantized (key quantization): give "
                                        "the original, unquantized model ("));
  }
}

TEST(QuantizedFolder, an_unquantized_folder_opens_as_before) {
  const TempFolder folder;
  testing::write_tiny_model(folder / "tiny", {});
  const Checkpoint checkpoint = Checkpoint::open((folder / "tiny").string(), Quantized::kAccept);
  for (const Unit& unit : checkpoint.units) EXPECT_FALSE(unit.stored) << unit.name;
}

TEST(QuantizedFolder, other_modes_and_other_programs_formats_are_refused_by_name) {
  const TinyModel model;
  const StoredTensors tensors = testing::mlx_tensors(model, all_four);
  for (const std::string mode : {"mxfp4", "mxfp8", "nvfp4", "new"}) {
    Json config = quantized_config(model);
    config["quantization"]["mode"] = mode;
    expect_refused(config, tensors, Code::kUnsupported, "mode is \"" + mode + "\"");
    Json entry = testing::format_json(kFour);
    entry["mode"] = mode;
    expect_refused(quantized_config(model, {{kHead, entry}}), tensors, Code::kUnsupported,
                   "quantization of lm_head: mode is \"" + mode + "\"");
  }
  for (const std::string method : {"gptq", "awq", "fp8", "bitsandbytes", "compressed-tensors"}) {
    Json config = testing::tiny_model_config(model);
    config["quantization_config"] = {{"quant_method", method}, {"bits", 4}, {"group_size", 64}};
    expect_refused(config, tensors, Code::kUnsupported, "quantized with \"" + method + "\"");
  }
  StoredTensors foreign = tensors;
  testing::put_tensor(foreign, "lm_head.qweight", DType::kI32, {1}, std::vector<std::byte>(4));
  expect_refused(quantized_config(model), foreign, Code::kUnsupported,
                 "(GPTQ or AWQ): only unquantized weights and MLX's affine format are supported");
  StoredTensors eight_bit_scales = tensors;
  auto& scales = eight_bit_scales["lm_head.scales"];
  scales.spec.dtype = DType::kU8;
  scales.bytes.resize(scales.bytes.size() / 2);
  expect_refused(quantized_config(model), eight_bit_scales, Code::kUnsupported,
                 "tensor lm_head.scales is U8");
  expect_refused(testing::tiny_model_config(model), tensors, Code::kUnsupported,
                 "no quantization that says which format");
}

TEST(QuantizedFolder, formats_that_are_none_are_refused) {
  const TinyModel model;
  const StoredTensors tensors = testing::mlx_tensors(model, all_four);
  const auto with = [&](const Json& changes) {
    Json config = quantized_config(model);
    config["quantization"].update(changes);
    return config;
  };
  expect_refused(with({{"bits", 7}}), tensors, Code::kUnsupported, "bits 7 and group_size 64");
  expect_refused(with({{"group_size", 48}}), tensors, Code::kUnsupported, "group_size 48");
  expect_refused(with({{"bits", "4"}}), tensors, Code::kCorrupt, "quantization.bits is \"4\"");
  expect_refused(with({{"bits", nullptr}}), tensors, Code::kCorrupt, "bits is missing");
  expect_refused(with({{"group_size", 0}}), tensors, Code::kCorrupt, "group_size is 0");
  expect_refused(with({{kHead, 4}}), tensors, Code::kCorrupt, "quantization of lm_head is 4");
  expect_refused(with({{kHead, {{"bits", 7}}}}), tensors, Code::kUnsupported, "bits 7");
  expect_refused(with({{kHead, testing::format_json({4, 128})}}), tensors, Code::kCorrupt,
                 "groups of 128, which do not divide its rows of 64");
  expect_refused(with({{"model.norm", testing::format_json(kFour)}}), tensors, Code::kCorrupt,
                 "model.norm is quantized: MLX cannot store it quantized");
  Json config = testing::tiny_model_config(model);
  config["quantization"] = 4;
  expect_refused(config, tensors, Code::kCorrupt, "quantization is 4");
}

TEST(QuantizedFolder, tensors_that_contradict_the_config_are_refused) {
  const TinyModel model;
  const StoredTensors tensors = testing::mlx_tensors(model, all_four);
  const auto without = [&](const std::string& name) {
    StoredTensors fewer = tensors;
    fewer.erase(name);
    return fewer;
  };
  const Json config = quantized_config(model);
  const Json named = quantized_config(model, {{kHead, testing::format_json(kFour)}});
  expect_refused(named, without("lm_head.scales"), Code::kMissing, "lm_head.scales is missing");
  expect_refused(config, without("lm_head.biases"), Code::kMissing, "lm_head.biases is missing");
  expect_refused(config, without("lm_head.weight"), Code::kMissing, "lm_head.weight is missing");
  expect_refused(config, without("lm_head.scales"), Code::kUnsupported, "lm_head.weight is U32");
  expect_refused(quantized_config(model, {{kHead, testing::format_json(kSix)}}), tensors,
                 Code::kCorrupt, "lm_head.weight has shape [96, 8]: config.json says [96, 12]");
  expect_refused(quantized_config(model, {{kHead, testing::format_json({4, 32})}}), tensors,
                 Code::kCorrupt, "lm_head.scales has shape [96, 1]: config.json says [96, 2]");
  expect_refused(quantized_config(model, {{kHead, false}}), tensors, Code::kUnsupported,
                 "lm_head.weight is U32");

  StoredTensors other_codes = tensors;
  other_codes["lm_head.weight"].spec.dtype = DType::kI32;
  expect_refused(config, other_codes, Code::kCorrupt, "lm_head.weight is I32");
  StoredTensors other_biases = tensors;
  other_biases["lm_head.biases"].spec.dtype = DType::kF16;
  expect_refused(config, other_biases, Code::kCorrupt, "they must share one dtype");
  StoredTensors flat = tensors;
  flat["lm_head.biases"].spec.shape = {96};
  expect_refused(config, flat, Code::kCorrupt, "lm_head.biases has shape [96]");
  StoredTensors more = tensors;
  testing::put_tensor(more, "model.norm.scales", DType::kBF16, {1}, std::vector<std::byte>(2));
  expect_refused(config, more, Code::kUnsupported, "model.norm.scales has no place");
}

}  // namespace
}  // namespace ram
