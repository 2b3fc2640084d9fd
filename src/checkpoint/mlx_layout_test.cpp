// The layout of a folder: shapes, bytes and shards of the tensors, without writing a file.
#include "ram/mlx_layout.h"

#include <map>
#include <memory>
#include <set>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/json.h"
#include "ram/json_tree.h"

#include "config.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using ::testing::ElementsAre;

/// An embedding, three projections with a bias each, stacked experts, and a norm.
Checkpoint hand_made() {
  Checkpoint model;
  model.model_type = "llama";
  model.config_json = testing::tiny_model_config({.hidden = 128, .layers = 1, .vocab = 96}).dump();
  model.spelled_config =
      std::make_shared<const JsonTree>(parse_config(model.config_json, "config.json").spelled);
  model.layers = 1;
  const auto tensor = [&](const std::string& name, std::vector<int64_t> shape) {
    model.tensors.push_back(
        {.info = {.name = name, .dtype = DType::kBF16, .shape = std::move(shape)}});
    return static_cast<int>(model.tensors.size()) - 1;
  };
  const auto unit = [&](const std::string& name, int64_t parts, int64_t rows, int64_t cols) {
    Unit u;
    u.name = name;
    u.tensor = name + ".weight";
    u.rows = rows;
    u.cols = cols;
    u.shape =
        parts > 1 ? std::vector<int64_t>{parts, rows, cols} : std::vector<int64_t>{rows, cols};
    u.quantizable = true;
    for (int64_t i = 0; i < parts; ++i) {
      u.parts.push_back({.tensor = tensor(name + std::to_string(i), {rows, cols})});
    }
    model.units.push_back(u);
  };
  unit("model.embed_tokens", 1, 96, 128);
  for (const char* projection : {"q_proj", "k_proj", "v_proj"}) {
    const std::string name = projection;
    unit("model.layers.0.self_attn." + name, 1, 64, 128);
    Unit& u = model.units.back();
    u.carried.push_back({.tensor = tensor(name + ".bias", {64}), .name = u.name + ".bias"});
  }
  unit("model.layers.0.mlp.switch_mlp.up_proj", 3, 32, 128);
  unit("model.norm", 1, 1, 127);
  model.units.back().shape = {127};
  model.units.back().quantizable = false;
  model.carried_files = {
      {"model.safetensors.index.json", 7}, {"plan.json", 5}, {"tokenizer.json", 11}};
  return model;
}

std::vector<UnitFormat> all_but_last(const Checkpoint& model, AffineFormat format) {
  std::vector<UnitFormat> formats(model.units.size(), format);
  formats.back() = std::nullopt;
  return formats;
}

TEST(MlxLayout, AQuantizedModuleHasCodesScalesAndBiasesOfMlxShapes) {
  const Checkpoint model = hand_made();
  const FolderLayout layout =
      layout_folder(model, all_but_last(model, {.bits = 3, .group_size = 32}), DType::kF16);
  std::map<std::string, TensorSpec> specs;
  for (const PlacedTensor& t : layout.shards.at(0).tensors) specs[t.spec.name] = t.spec;
  const std::string experts = "model.layers.0.mlp.switch_mlp.up_proj";
  EXPECT_EQ(specs.at(experts + ".weight").dtype, DType::kU32);
  EXPECT_THAT(specs.at(experts + ".weight").shape, ElementsAre(3, 32, 12));
  EXPECT_EQ(specs.at(experts + ".scales").dtype, DType::kF16);
  EXPECT_THAT(specs.at(experts + ".scales").shape, ElementsAre(3, 32, 4));
  EXPECT_THAT(specs.at(experts + ".biases").shape, ElementsAre(3, 32, 4));
  EXPECT_EQ(specs.at("model.norm.weight").dtype, DType::kF16);
  EXPECT_THAT(specs.at("model.layers.0.self_attn.q_proj.bias").shape, ElementsAre(64));
  EXPECT_EQ(specs.size(), 5U * 3 + 3 + 1);
}

TEST(MlxLayout, TheBytesOfTheUnitsAreTheBytesOfTheTensors) {
  const Checkpoint model = hand_made();
  for (const AffineFormat format : kAffineFormats) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      const auto formats = all_but_last(model, format);
      const FolderLayout layout = layout_folder(model, formats, dtype);
      std::vector<int64_t> per_unit(model.units.size());
      for (const PlacedTensor& t : layout.shards.at(0).tensors) {
        per_unit[static_cast<size_t>(t.unit)] += t.spec.bytes();
      }
      int64_t sum = 0;
      for (size_t i = 0; i < per_unit.size(); ++i) {
        EXPECT_EQ(per_unit[i], unit_bytes(model, model.units[i], formats[i], dtype));
        sum += per_unit[i];
      }
      EXPECT_EQ(sum, layout.weight_bytes);
    }
  }
}

TEST(MlxLayout, ParametersAreTheWeightsAndTheLayersOwnBiases) {
  const Checkpoint model = hand_made();
  EXPECT_EQ(parameter_count(model), 96 * 128 + 3 * (64 * 128 + 64) + 3 * 32 * 128 + 127);
}

TEST(MlxLayout, EveryTensorIsPlacedOnceInOrderAndAlignedToItsElement) {
  const Checkpoint model = hand_made();
  for (const int64_t cap : {int64_t{1}, int64_t{5000}, int64_t{12000}, kMaxShardBytes}) {
    const FolderLayout layout =
        layout_folder(model, all_but_last(model, {.bits = 4, .group_size = 64}), DType::kBF16, cap);
    std::set<std::string> names;
    for (const Shard& shard : layout.shards) {
      auto next = static_cast<int64_t>(shard.header.size());
      const SafetensorsHeader header =
          parse_safetensors_header(std::as_bytes(std::span(shard.header)), shard.bytes, shard.name);
      ASSERT_EQ(header.tensors.size(), shard.tensors.size());
      EXPECT_EQ(header.metadata.at("format"), "mlx");
      for (size_t i = 0; i < shard.tensors.size(); ++i) {
        const PlacedTensor& tensor = shard.tensors[i];
        EXPECT_TRUE(names.insert(tensor.spec.name).second) << tensor.spec.name;
        EXPECT_EQ(tensor.begin, next);
        EXPECT_EQ(header.tensors[i].begin, next);
        EXPECT_EQ(header.tensors[i].name, tensor.spec.name);
        EXPECT_EQ(next % dtype_bytes(tensor.spec.dtype), 0);
        next += tensor.spec.bytes();
      }
      EXPECT_EQ(shard.bytes, next);
    }
    EXPECT_EQ(names.size(), 5U * 3 + 3 + 1);
  }
}

TEST(MlxLayout, AShardIsWithinTheLimitHeaderIncludedUnlessOneTensorAloneIsLarger) {
  const Checkpoint model = hand_made();
  size_t most = 0;
  for (int64_t cap = 1000; cap < 60000; cap += 1117) {
    const FolderLayout layout =
        layout_folder(model, all_but_last(model, {.bits = 8, .group_size = 128}), DType::kF32, cap);
    most = std::max(most, layout.shards.size());
    for (size_t i = 0; i < layout.shards.size(); ++i) {
      const Shard& shard = layout.shards[i];
      EXPECT_TRUE(shard.bytes <= cap || shard.tensors.size() == 1) << cap << " " << shard.bytes;
      if (layout.shards.size() > 1) {
        EXPECT_EQ(shard.name,
                  fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, layout.shards.size()));
      } else {
        EXPECT_EQ(shard.name, "model.safetensors");
      }
    }
  }
  EXPECT_GT(most, 10U);
}

TEST(MlxLayout, TheTensorsOfAUnitShareAShardWhereTheyFitIntoOne) {
  const Checkpoint model = hand_made();
  const FolderLayout layout =
      layout_folder(model, all_but_last(model, {.bits = 4, .group_size = 64}), DType::kBF16, 10000);
  ASSERT_GT(layout.shards.size(), 2U);
  std::map<int, std::set<std::string>> shards_of;
  for (const Shard& shard : layout.shards) {
    for (const PlacedTensor& tensor : shard.tensors) shards_of[tensor.unit].insert(shard.name);
  }
  for (const auto& [unit, shards] : shards_of) EXPECT_EQ(shards.size(), 1U) << unit;
}

TEST(MlxLayout, TheIndexNamesEveryTensorAndTheTotalsOfMlxLm) {
  const Checkpoint model = hand_made();
  const FolderLayout layout =
      layout_folder(model, all_but_last(model, {.bits = 4, .group_size = 64}), DType::kBF16, 9000);
  const RenderedFile& file = layout.rendered.at(1);
  ASSERT_EQ(file.name, "model.safetensors.index.json");
  const auto index = nlohmann::json::parse(file.text);
  EXPECT_EQ(index.at("metadata").at("total_size"), layout.weight_bytes);
  EXPECT_EQ(index.at("metadata").at("total_parameters"), parameter_count(model));
  size_t count = 0;
  for (const Shard& shard : layout.shards) {
    for (const PlacedTensor& tensor : shard.tensors) {
      EXPECT_EQ(index.at("weight_map").at(tensor.spec.name), shard.name);
      ++count;
    }
  }
  EXPECT_EQ(index.at("weight_map").size(), count);
}

TEST(MlxLayout, TheTotalIsTheSumOfAllFilesAndFilesOfOurOwnNamesAreNotCarried) {
  const Checkpoint model = hand_made();
  const FolderLayout layout =
      layout_folder(model, all_but_last(model, {.bits = 4, .group_size = 64}), DType::kBF16);
  ASSERT_EQ(layout.carried_files.size(), 1U);
  EXPECT_EQ(layout.carried_files[0].name, "tokenizer.json");
  int64_t sum = 11;
  for (const Shard& shard : layout.shards) sum += shard.bytes;
  for (const RenderedFile& file : layout.rendered) sum += static_cast<int64_t>(file.text.size());
  EXPECT_EQ(layout.total_bytes(), sum);
}

}  // namespace
}  // namespace ram
