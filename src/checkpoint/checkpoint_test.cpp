// Every family's table of units, in every layout of experts, and that units read what the files
// hold.
#include "ram/checkpoint.h"

#include <algorithm>
#include <set>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "test_support.h"

namespace ram {
namespace {

using ::testing::ElementsAre;
using testing::ExpertLayout;
using ::testing::HasSubstr;
using testing::Spelling;
using testing::TempFolder;
using testing::TinyModel;
using testing::unit_of;

const std::vector<std::string> kAllFamilies = {"llama",     "mistral",   "qwen2",  "qwen3",
                                               "qwen3_moe", "qwen2_moe", "mixtral"};

Checkpoint open_tiny(const TempFolder& folder, const TinyModel& model) {
  testing::write_tiny_model(folder / "tiny", model);
  return Checkpoint::open((folder / "tiny").string());
}

std::vector<float> read_part(const Checkpoint& checkpoint, const Unit& unit, int part) {
  std::vector<std::byte> bytes(static_cast<size_t>(unit.part_weights() * dtype_bytes(unit.dtype)));
  // Row by row, so that row offsets are tested too.
  const size_t row_bytes = bytes.size() / static_cast<size_t>(unit.rows);
  for (int64_t row = 0; row < unit.rows; ++row) {
    checkpoint.prefetch_rows(unit, part, row, 1);
    checkpoint.read_rows(unit, part, row, 1, bytes.data() + static_cast<size_t>(row) * row_bytes);
  }
  std::vector<float> values(static_cast<size_t>(unit.part_weights()));
  to_f32(bytes.data(), unit.dtype, unit.part_weights(), values.data());
  return values;
}

/// The values that the tiny model's writer gave a tensor, after rounding to its dtype.
std::vector<float> written(const TinyModel& model, const std::string& tensor) {
  for (const TensorSpec& spec : testing::tiny_model_tensors(model)) {
    if (spec.name != tensor) continue;
    const std::vector<float> exact = testing::tiny_model_values(model, spec);
    std::vector<std::byte> bytes(static_cast<size_t>(spec.bytes()));
    from_f32(exact.data(), spec.dtype, spec.elements(), bytes.data());
    std::vector<float> rounded(exact.size());
    to_f32(bytes.data(), spec.dtype, spec.elements(), rounded.data());
    return rounded;
  }
  throw std::runtime_error("no tensor " + tensor);
}

std::vector<float> slice(const std::vector<float>& values, int64_t first, int64_t count) {
  return {values.begin() + first, values.begin() + first + count};
}

std::vector<std::string> names_of_layer(const Checkpoint& checkpoint, int layer) {
  std::vector<std::string> names;
  const std::string prefix = "model.layers." + std::to_string(layer) + ".";
  for (const Unit& unit : checkpoint.units) {
    if (unit.layer == layer) names.push_back(unit.name.substr(prefix.size()));
  }
  return names;
}

TEST(Checkpoint, units_of_every_family_stand_in_the_order_of_the_model) {
  for (const std::string& family : kAllFamilies) {
    SCOPED_TRACE(family);
    const TempFolder folder;
    const Checkpoint checkpoint = open_tiny(folder, {.model_type = family});
    EXPECT_EQ(checkpoint.model_type, family);
    EXPECT_EQ(checkpoint.name, "tiny");
    EXPECT_EQ(checkpoint.layers, 2);
    EXPECT_EQ(checkpoint.units.front().name, "model.embed_tokens");
    EXPECT_EQ(checkpoint.units.front().role, Role::kEmbedding);
    EXPECT_EQ(checkpoint.units.back().name, "lm_head");
    EXPECT_EQ(checkpoint.units.back().role, Role::kHead);
    EXPECT_EQ((checkpoint.units.end() - 2)->name, "model.norm");
    int layer = -1;
    std::set<std::string> names;
    for (const Unit& unit : checkpoint.units) {
      EXPECT_TRUE(names.insert(unit.name).second) << unit.name;
      EXPECT_EQ(unit.tensor, unit.name + ".weight");
      EXPECT_EQ(unit.quantizable, unit.role != Role::kNorm) << unit.name;
      if (unit.layer >= 0) {
        EXPECT_GE(unit.layer, layer);
      }
      layer = std::max(layer, unit.layer);
    }
    EXPECT_EQ(layer, 1);
  }
}

TEST(Checkpoint, modules_are_named_as_mlx_lm_names_them) {
  const TempFolder folder;
  EXPECT_THAT(
      names_of_layer(open_tiny(folder, {.model_type = "qwen3"}), 0),
      ElementsAre("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                  "self_attn.o_proj", "self_attn.q_norm", "self_attn.k_norm",
                  "post_attention_layernorm", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"));
  const TempFolder moe;
  EXPECT_THAT(
      names_of_layer(open_tiny(moe, {.model_type = "qwen2_moe"}), 1),
      ElementsAre("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                  "self_attn.o_proj", "post_attention_layernorm", "mlp.gate",
                  "mlp.switch_mlp.gate_proj", "mlp.switch_mlp.up_proj", "mlp.switch_mlp.down_proj",
                  "mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj",
                  "mlp.shared_expert.down_proj", "mlp.shared_expert_gate"));
  const TempFolder mixtral;
  EXPECT_THAT(
      names_of_layer(open_tiny(mixtral, {.model_type = "mixtral"}), 1),
      ElementsAre("input_layernorm", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                  "self_attn.o_proj", "post_attention_layernorm", "block_sparse_moe.gate",
                  "block_sparse_moe.switch_mlp.gate_proj", "block_sparse_moe.switch_mlp.up_proj",
                  "block_sparse_moe.switch_mlp.down_proj"));
}

TEST(Checkpoint, roles_say_what_a_unit_does) {
  const TempFolder folder;
  const Checkpoint checkpoint = open_tiny(folder, {.model_type = "qwen2_moe"});
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(unit_of(checkpoint, layer + "self_attn.o_proj").role, Role::kAttention);
  EXPECT_EQ(unit_of(checkpoint, layer + "mlp.gate").role, Role::kRouter);
  EXPECT_EQ(unit_of(checkpoint, layer + "mlp.shared_expert_gate").role, Role::kRouter);
  EXPECT_EQ(unit_of(checkpoint, layer + "mlp.shared_expert.up_proj").role, Role::kSharedExpert);
  EXPECT_EQ(unit_of(checkpoint, layer + "mlp.switch_mlp.up_proj").role, Role::kExpert);
  EXPECT_EQ(unit_of(checkpoint, layer + "input_layernorm").role, Role::kNorm);
  for (int i = 0; i < kRoleCount; ++i) {
    const auto role = static_cast<Role>(i);
    EXPECT_EQ(parse_role(role_name(role)), role);
  }
  EXPECT_EQ(parse_role("experts"), std::nullopt);
}

TEST(Checkpoint, only_the_router_of_qwen3_moe_has_a_rule_of_its_own) {
  for (const std::string& family : kAllFamilies) {
    const TempFolder folder;
    for (const Unit& unit : open_tiny(folder, {.model_type = family}).units) {
      const bool ruled = family == "qwen3_moe" && unit.name.ends_with("mlp.gate");
      EXPECT_EQ(unit.uniform_rule.has_value(), ruled) << family << " " << unit.name;
      if (ruled) {
        EXPECT_EQ(*unit.uniform_rule, (AffineFormat{.bits = 8, .group_size = 64}));
      }
    }
  }
}

TEST(Checkpoint, every_weight_is_in_exactly_one_unit) {
  for (const std::string& family : kAllFamilies) {
    SCOPED_TRACE(family);
    const TempFolder folder;
    const TinyModel model = {.model_type = family, .attention_bias = family == "llama"};
    const Checkpoint checkpoint = open_tiny(folder, model);
    int64_t elements = 0;
    int64_t bytes = 0;
    for (const TensorSpec& spec : testing::tiny_model_tensors(model)) {
      elements += spec.elements();
      bytes += spec.bytes();
    }
    EXPECT_EQ(checkpoint.weights(), elements);
    EXPECT_EQ(checkpoint.bytes(), bytes);
    EXPECT_TRUE(checkpoint.dropped.empty());
  }
}

TEST(Checkpoint, a_part_reads_what_the_file_holds) {
  for (const std::string& family : kAllFamilies) {
    for (const DType dtype : {DType::kBF16, DType::kF16, DType::kF32}) {
      SCOPED_TRACE(family);
      const TempFolder folder;
      const TinyModel model = {.model_type = family, .dtype = dtype, .shards = 3};
      const Checkpoint checkpoint = open_tiny(folder, model);
      for (const Unit& unit : checkpoint.units) {
        EXPECT_EQ(unit.dtype, dtype);
        if (unit.role == Role::kExpert) continue;
        EXPECT_EQ(read_part(checkpoint, unit, 0), written(model, unit.tensor)) << unit.name;
      }
    }
  }
}

TEST(Checkpoint, experts_stand_in_their_order_however_they_are_stored) {
  constexpr int64_t kWidth = 64;
  constexpr int64_t kHidden = 96;
  constexpr int kExperts = 12;  // so that "10" sorts before "2"
  constexpr int64_t kSize = kWidth * kHidden;
  for (const std::string family : {"qwen3_moe", "qwen2_moe", "mixtral"}) {
    SCOPED_TRACE(family);
    const bool mixtral = family == "mixtral";
    TinyModel model = {.model_type = family,
                       .hidden = kHidden,
                       .layers = 1,
                       .intermediate = kWidth,
                       .experts = kExperts,
                       .expert_width = kWidth};
    const std::string block = mixtral ? "model.layers.0.block_sparse_moe." : "model.layers.0.mlp.";
    const auto part = [&](const Checkpoint& c, const std::string& projection, int expert) {
      std::string unit = block;
      unit.append("switch_mlp.").append(projection);
      return read_part(c, unit_of(c, unit), expert);
    };
    {
      const TempFolder folder;
      const Checkpoint c = open_tiny(folder, model);
      const Unit& gate = unit_of(c, block + "switch_mlp.gate_proj");
      EXPECT_THAT(gate.shape, ElementsAre(kExperts, kWidth, kHidden));
      EXPECT_EQ(gate.parts.size(), static_cast<size_t>(kExperts));
      for (int e = 0; e < kExperts; ++e) {
        std::string expert = block;
        expert.append("experts.").append(std::to_string(e)).append(".");
        EXPECT_EQ(part(c, "gate_proj", e),
                  written(model, expert + (mixtral ? "w1" : "gate_proj") + ".weight"));
        EXPECT_EQ(part(c, "up_proj", e),
                  written(model, expert + (mixtral ? "w3" : "up_proj") + ".weight"));
        EXPECT_EQ(part(c, "down_proj", e),
                  written(model, expert + (mixtral ? "w2" : "down_proj") + ".weight"));
      }
    }
    {
      model.expert_layout = ExpertLayout::kMlx;
      const TempFolder folder;
      const Checkpoint c = open_tiny(folder, model);
      const auto stacked = written(model, block + "switch_mlp.down_proj.weight");
      for (int e = 0; e < kExperts; ++e)
        EXPECT_EQ(part(c, "down_proj", e), slice(stacked, e * kSize, kSize));
    }
    {
      model.expert_layout = ExpertLayout::kPacked;
      const TempFolder folder;
      const Checkpoint c = open_tiny(folder, model);
      const auto packed = written(model, "model.layers.0.mlp.experts.gate_up_proj");
      const auto down = written(model, "model.layers.0.mlp.experts.down_proj");
      for (int e = 0; e < kExperts; ++e) {
        EXPECT_EQ(part(c, "gate_proj", e), slice(packed, 2 * e * kSize, kSize));
        EXPECT_EQ(part(c, "up_proj", e), slice(packed, (2 * e + 1) * kSize, kSize));
        EXPECT_EQ(part(c, "down_proj", e), slice(down, e * kSize, kSize));
      }
      EXPECT_EQ(read_part(c, unit_of(c, block + "gate"), 0),
                written(model, "model.layers.0.mlp.gate.weight"));
      EXPECT_THAT(unit_of(c, block + "switch_mlp.up_proj").shape,
                  ElementsAre(kExperts, kWidth, kHidden));
    }
  }
}

TEST(Checkpoint, both_spellings_of_the_config_give_one_table) {
  for (const std::string& family : kAllFamilies) {
    SCOPED_TRACE(family);
    const TempFolder hub_folder;
    const TempFolder other_folder;
    const Checkpoint hub = open_tiny(hub_folder, {.model_type = family});
    const Checkpoint other =
        open_tiny(other_folder, {.model_type = family, .spelling = Spelling::kTransformers5});
    ASSERT_EQ(hub.units.size(), other.units.size());
    for (size_t i = 0; i < hub.units.size(); ++i) {
      EXPECT_EQ(hub.units[i].name, other.units[i].name);
      EXPECT_EQ(hub.units[i].shape, other.units[i].shape);
    }
    EXPECT_EQ(hub.torch_dtype, DType::kBF16);
    EXPECT_EQ(other.torch_dtype, DType::kBF16);
  }
}

TEST(Checkpoint, biases_travel_with_their_layer) {
  const TempFolder folder;
  const TinyModel model = {.model_type = "qwen2"};
  const Checkpoint checkpoint = open_tiny(folder, model);
  const Unit& q = unit_of(checkpoint, "model.layers.1.self_attn.q_proj");
  ASSERT_EQ(q.carried.size(), 1U);
  EXPECT_EQ(q.carried[0].name, "model.layers.1.self_attn.q_proj.bias");
  std::vector<std::byte> bytes(64 * 2);
  checkpoint.read_tensor(q.carried[0].tensor, 0, bytes);
  std::vector<float> values(64);
  to_f32(bytes.data(), DType::kBF16, 64, values.data());
  EXPECT_EQ(values, written(model, q.carried[0].name));
  EXPECT_TRUE(unit_of(checkpoint, "model.layers.1.self_attn.o_proj").carried.empty());

  const TempFolder llama_folder;
  const Checkpoint llama = open_tiny(llama_folder, {.attention_bias = true});
  EXPECT_EQ(unit_of(llama, "model.layers.0.self_attn.o_proj").carried.size(), 1U);
}

TEST(Checkpoint, layers_without_experts_have_a_dense_block) {
  const TempFolder folder;
  const Checkpoint checkpoint =
      open_tiny(folder, {.model_type = "qwen3_moe", .layers = 3, .dense_layers = {1}});
  EXPECT_EQ(unit_of(checkpoint, "model.layers.0.mlp.gate").role, Role::kRouter);
  EXPECT_EQ(unit_of(checkpoint, "model.layers.1.mlp.gate_proj").role, Role::kMlp);
  EXPECT_EQ(unit_of(checkpoint, "model.layers.2.mlp.switch_mlp.gate_proj").role, Role::kExpert);
}

TEST(Checkpoint, an_equal_tied_head_and_rotary_tables_are_dropped) {
  const TempFolder folder;
  TinyModel model = {.tied = false};
  auto specs = testing::tiny_model_tensors(model);
  specs.push_back({"model.layers.0.self_attn.rotary_emb.inv_freq", DType::kF32, {16}});
  model.tied = true;
  testing::write_tiny_model(folder / "tiny", model);
  testing::write_tensors(folder.path() / "tiny" / "model.safetensors", specs,
                         [&](const TensorSpec& spec) {
                           const bool head = spec.name == "lm_head.weight";
                           return testing::tiny_model_values(model, head ? specs.front() : spec);
                         });
  const Checkpoint checkpoint = Checkpoint::open((folder / "tiny").string());
  EXPECT_TRUE(checkpoint.tied_embeddings);
  EXPECT_EQ(checkpoint.units.back().name, "model.norm");
  std::vector<std::string> dropped;
  dropped.reserve(checkpoint.dropped.size());
  for (const int i : checkpoint.dropped)
    dropped.push_back(checkpoint.tensors.at(static_cast<size_t>(i)).info.name);
  EXPECT_THAT(dropped,
              ElementsAre("lm_head.weight", "model.layers.0.self_attn.rotary_emb.inv_freq"));
}

TEST(Checkpoint, without_a_word_in_the_config_a_head_in_the_files_is_used) {
  for (const bool head : {false, true}) {
    const TempFolder folder;
    const TinyModel model = {.tied = !head};
    testing::write_tiny_model(folder / "tiny", model);
    auto config = testing::tiny_model_config(model);
    config.erase("tie_word_embeddings");
    write_file_atomic(folder.path() / "tiny" / "config.json", config.dump());
    EXPECT_EQ(Checkpoint::open((folder / "tiny").string()).tied_embeddings, !head);
  }
}

TEST(Checkpoint, the_default_dtype_is_the_sources_where_it_has_sixteen_bits) {
  const auto default_of = [](DType dtype) {
    const TempFolder folder;
    return open_tiny(folder, {.dtype = dtype}).default_dtype();
  };
  EXPECT_EQ(default_of(DType::kBF16), DType::kBF16);
  EXPECT_EQ(default_of(DType::kF16), DType::kF16);
  EXPECT_EQ(default_of(DType::kF32), DType::kBF16);
}

TEST(Checkpoint, a_file_cut_after_opening_is_an_error_and_no_crash) {
  const TempFolder folder;
  const Checkpoint checkpoint = open_tiny(folder, {});
  std::filesystem::resize_file(folder.path() / "tiny" / "model.safetensors", 4096);
  const Unit& head = checkpoint.units.back();
  std::vector<std::byte> row(static_cast<size_t>(head.cols * 2));
  try {
    checkpoint.read_rows(head, 0, head.rows - 1, 1, row.data());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_THAT(error.what(), HasSubstr("model.safetensors"));
  }
}

TEST(Checkpoint, the_trained_models_at_hand_open) {
  const std::filesystem::path models =
      std::filesystem::path(RAM_SOURCE_DIR) / ".." / "shared" / "data" / "models";
  if (!std::filesystem::is_directory(models)) GTEST_SKIP() << "no " << models.string();
  const auto count = [&](const std::string& name) {
    const Checkpoint checkpoint = Checkpoint::open((models / name).string());
    EXPECT_GT(checkpoint.carried_files.size(), 1U);
    return checkpoint.units.size();
  };
  EXPECT_EQ(count("stories260K"), 2U + 5 * 9);
  EXPECT_EQ(count("babyllama-tok361"), 2U + 5 * 9);
  EXPECT_EQ(count("text-qwen3-14m"), 2U + 8 * 11);
  EXPECT_EQ(count("text-qwen3moe-23m"), 3U + 6 * 12);
}

}  // namespace
}  // namespace ram
