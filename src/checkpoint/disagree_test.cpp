// Two sources that contradict each other about a model: which is used, and that the user is told.
#include <filesystem>
#include <functional>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "ram/cancellation.h"
#include "ram/checkpoint.h"
#include "ram/error.h"

#include "support/mlx_model.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::TempFolder;
using testing::TinyModel;

Checkpoint open(const fs::path& folder) {
  return Checkpoint::open(folder.string());
}

void expect_disagreement_refused(const fs::path& folder, Code code, const std::string& reason) {
  SCOPED_TRACE(reason);
  try {
    open(folder);
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(reason));
  }
}

/// A model whose config.json ties the head although the files hold one: the embedding, changed.
void write_tied_with_head(const fs::path& folder, const TinyModel& model,
                          const std::function<void(std::vector<float>&)>& change,
                          DType head_dtype) {
  TinyModel tied = model;
  tied.tied = true;
  testing::write_tiny_model(folder, tied);
  std::vector<TensorSpec> specs = testing::tiny_model_tensors(tied);
  const TensorSpec embedding = specs.front();
  ASSERT_EQ(embedding.name, "model.embed_tokens.weight");
  specs.push_back({"lm_head.weight", head_dtype, embedding.shape});
  testing::write_tensors(folder / "model.safetensors", specs, [&](const TensorSpec& spec) {
    const bool head = spec.name == "lm_head.weight";
    std::vector<float> values = testing::tiny_model_values(tied, head ? embedding : spec);
    if (head) {
      // In stored form, so that a head of more bits holds the same values.
      std::vector<std::byte> bytes(static_cast<size_t>(embedding.bytes()));
      from_f32(values.data(), embedding.dtype, embedding.elements(), bytes.data());
      to_f32(bytes.data(), embedding.dtype, embedding.elements(), values.data());
      change(values);
    }
    return values;
  });
}

void write_json(const fs::path& path, const nlohmann::json& json) {
  write_file_atomic(path, json.dump());
}

TEST(Disagree, an_equal_head_is_the_embedding) {
  for (const DType dtype : {DType::kBF16, DType::kF32}) {
    const TempFolder folder;
    write_tied_with_head(
        folder.path(), {}, [](auto&) {}, dtype);
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_TRUE(checkpoint.tied_embeddings);
    EXPECT_EQ(checkpoint.dropped.size(), 1U);
    EXPECT_THAT(checkpoint.notes, IsEmpty());
  }
}

TEST(Disagree, ctrl_c_ends_a_comparison) {
  const TempFolder folder;
  write_tied_with_head(
      folder.path(), {}, [](auto&) {}, DType::kBF16);
  const Cancellation cancellation;
  const CancelScope scope(cancellation);
  cancellation.request();
  try {
    open(folder.path());
    ADD_FAILURE() << "not stopped";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kInterrupted);
  }
}

TEST(Disagree, a_head_that_differs_is_used_and_the_output_says_untied) {
  for (const char* family : {"llama", "qwen2", "qwen3", "qwen3_moe", "mixtral"}) {
    SCOPED_TRACE(family);
    const TempFolder folder;
    // One value of the last row, so that both must be compared completely.
    write_tied_with_head(
        folder.path(), {.model_type = family}, [](auto& values) { values.back() += 1; },
        DType::kBF16);
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_FALSE(checkpoint.tied_embeddings);
    EXPECT_FALSE(checkpoint.config.tied_head);
    EXPECT_EQ(checkpoint.units.back().name, "lm_head");
    EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("lm_head.weight differs from")));
    const std::vector<std::optional<AffineFormat>> formats(checkpoint.units.size());
    const auto config = nlohmann::json::parse(render_config(checkpoint, formats, DType::kBF16));
    EXPECT_EQ(config["tie_word_embeddings"], false);
  }
}

TEST(Disagree, a_family_that_cannot_be_tied_takes_the_head_of_the_files) {
  const TempFolder folder;
  const TinyModel model = {.model_type = "qwen2_moe"};
  write_tied_with_head(
      folder.path(), model, [](auto&) {}, DType::kBF16);
  EXPECT_FALSE(open(folder.path()).tied_embeddings);
  TinyModel tied = model;
  tied.tied = true;
  const TempFolder without;
  testing::write_tiny_model(without.path(), tied);
  expect_disagreement_refused(without.path(), Code::kUnsupported, "needs a separate head");
}

TEST(Disagree, the_dtype_of_two_keys_is_that_of_the_files) {
  for (const DType stored : {DType::kF16, DType::kBF16}) {
    const TempFolder folder;
    const TinyModel model = {.dtype = stored};
    testing::write_tiny_model(folder.path(), model);
    auto config = testing::tiny_model_config(model);
    config["torch_dtype"] = "float16";
    config["dtype"] = "bfloat16";
    write_json(folder / "config.json", config);
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_EQ(checkpoint.default_dtype(), stored);
    EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("torch_dtype f16 and dtype bf16")));
    // One key against the files: the key's dtype is used, with a note.
    config.erase("dtype");
    write_json(folder / "config.json", config);
    const Checkpoint one = open(folder.path());
    EXPECT_EQ(one.default_dtype(), DType::kF16);
    EXPECT_EQ(one.notes.size(), stored == DType::kF16 ? 0U : 1U);
  }
}

TEST(Disagree, the_theta_that_transformers_takes_counts) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  const nlohmann::json linear = {{"rope_type", "linear"}, {"factor", 2.0}};
  const auto theta = [](nlohmann::json dict, double value) {
    dict["rope_theta"] = value;
    return dict;
  };
  const auto expect = [&](const nlohmann::json& top, const nlohmann::json& scaling,
                          const nlohmann::json& parameters, double wanted, size_t notes) {
    auto config = testing::tiny_model_config({});
    config["rope_theta"] = top;
    config["rope_scaling"] = scaling;
    config["rope_parameters"] = parameters;
    write_json(folder / "config.json", config);
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_EQ(checkpoint.config.layer(0).attention.rope.theta, wanted) << config;
    EXPECT_EQ(checkpoint.notes.size(), notes) << config;
  };
  expect(5e5, nullptr, theta({{"rope_type", "default"}}, 1e6), 1e6, 1);
  expect(5e5, linear, theta(linear, 1e6), 5e5, 1);
  expect(nullptr, linear, theta(linear, 1e6), 1e6, 0);
  expect(5e5, theta(linear, 2e6), theta(linear, 1e6), 2e6, 1);
  expect(1e6, nullptr, theta({{"rope_type", "default"}}, 1e6), 1e6, 0);
  expect(5e5, nullptr, nullptr, 5e5, 0);
}

TEST(Disagree, headers_count_and_not_the_index) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {.shards = 2});
  const fs::path path = folder / "model.safetensors.index.json";
  auto index = nlohmann::json::parse(read_text_file(path, 1 << 20));
  index["weight_map"]["model.embed_tokens.weight"] = "model-00002-of-00002.safetensors";
  write_json(path, index);
  EXPECT_THAT(open(folder.path()).notes,
              ElementsAre(HasSubstr("model-00002-of-00002.safetensors has tensor "
                                    "model.embed_tokens.weight, which another file has")));
  index["weight_map"]["model.mtp.0.eh_proj.weight"] = "model-00001-of-00002.safetensors";
  write_json(path, index);
  EXPECT_THAT(open(folder.path()).notes, ElementsAre(HasSubstr("; it is wrong about 1 more")));
}

TEST(Disagree, a_tensor_that_the_index_names_and_the_model_needs_is_fetched_again) {
  const TempFolder folder;
  const TinyModel model = {.shards = 2};
  testing::write_tiny_model(folder.path(), model);
  std::vector<TensorSpec> specs;
  std::string lost;
  for (const TensorInfo& info :
       read_safetensors_header(folder / "model-00002-of-00002.safetensors").tensors) {
    if (lost.empty()) {
      lost = info.name;
    } else {
      specs.push_back({info.name, info.dtype, info.shape});
    }
  }
  testing::write_tensors(
      folder / "model-00002-of-00002.safetensors", specs,
      [&](const TensorSpec& spec) { return testing::tiny_model_values(model, spec); });
  expect_disagreement_refused(folder.path(), Code::kMissing, "tensor " + lost + " is missing");
  expect_disagreement_refused(
      folder.path(), Code::kMissing,
      "the index says that model-00002-of-00002.safetensors has it: fetch the files");
}

TEST(Disagree, an_index_beside_the_whole_file_is_not_needed) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  const fs::path path = folder / "model.safetensors.index.json";
  for (const char* text : {"{", "[]", "",
                           "{\"weight_map\": {\"model.embed_tokens.weight\": \"model-00001-of-"
                           "00002.safetensors\"}}"}) {
    write_file_atomic(path, text);
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("index.json is ignored"))) << text;
    EXPECT_EQ(checkpoint.files.size(), 1U);
  }
}

TEST(Disagree, an_index_that_cannot_be_read_is_not_needed_beside_all_shards) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {.shards = 2, .index = true});
  const fs::path path = folder / "model.safetensors.index.json";
  const auto expect_passed_over = [&] {
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("since every numbered shard is there")));
    EXPECT_EQ(checkpoint.files.size(), 2U);
  };
  fs::remove(path);
  fs::create_symlink("nowhere", path);
  expect_passed_over();
  fs::remove(path);
  ASSERT_EQ(mkfifo(path.c_str(), S_IRUSR | S_IWUSR), 0);
  expect_passed_over();
  fs::remove(path);
  write_file_atomic(path, "x");
  expect_passed_over();
  // If a shard is missing, the index may name what is still to be fetched.
  fs::remove(folder / "model-00002-of-00002.safetensors");
  EXPECT_THROW(open(folder.path()), Error);
}

TEST(Disagree, a_tensor_in_two_files_must_be_one) {
  for (const bool index : {false, true}) {
    const TempFolder folder;
    const TinyModel model = {.shards = 2, .index = index};
    testing::write_tiny_model(folder.path(), model);
    const auto specs = testing::tiny_model_tensors(model);
    const auto extra = [&](float more) {
      testing::write_tensors(folder / "model-extra.safetensors", std::span(specs).first(2),
                             [&](const TensorSpec& spec) {
                               auto values = testing::tiny_model_values(model, spec);
                               values.back() += more;
                               return values;
                             });
    };
    extra(0);
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_EQ(checkpoint.tensors.size(), specs.size());
    EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("with the same values; so are 1 more")));
    extra(1);
    expect_disagreement_refused(
        folder.path(), Code::kCorrupt,
        "tensor model.embed_tokens.weight is in both model-00001-of-00002.safetensors and "
        "model-extra.safetensors, with different values");
  }
}

TEST(Disagree, a_damaged_generation_config_ends_nothing) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  auto config = testing::tiny_model_config({});
  config["eos_token_id"] = 7;
  write_json(folder / "config.json", config);
  const fs::path path = folder / "generation_config.json";
  for (const std::string& text :
       {std::string("{\"do_sample\": true. \"eos_token_id\": 2,}"), std::string(),
        std::string("[]"), std::string("\xff\xfe"), std::string("{\"eos_token_id\": \"</s>\"}"),
        std::string("{\"eos_token_id\": 1e99}"), std::string(100'000, '[')}) {
    write_file_atomic(path, text);
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_THAT(checkpoint.config.eos_ids, ElementsAre(7));
    EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("generation_config.json is ignored")))
        << text.substr(0, 60);
  }
  fs::remove(path);
  fs::create_directories(path);
  EXPECT_THAT(open(folder.path()).config.eos_ids, ElementsAre(7));
}

TEST(Disagree, another_end_of_a_text_in_generation_config_is_said) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  auto config = testing::tiny_model_config({});
  config["eos_token_id"] = 5;
  write_json(folder / "config.json", config);
  write_json(folder / "generation_config.json", {{"eos_token_id", {7, 9}}});
  const Checkpoint checkpoint = open(folder.path());
  EXPECT_THAT(checkpoint.config.eos_ids, ElementsAre(7, 9));
  EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("at token 5 and generation_config.json at "
                                                      "7, 9: generation_config.json is used")));
  config["eos_token_id"] = {9, 7};
  write_json(folder / "config.json", config);
  EXPECT_THAT(open(folder.path()).notes, IsEmpty());
  config.erase("eos_token_id");
  write_json(folder / "config.json", config);
  EXPECT_THAT(open(folder.path()).notes, IsEmpty())
      << "a family's default is not an explicit value";
}

TEST(Disagree, two_stretches_of_positions_are_said) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  auto config = testing::tiny_model_config({});
  config["rope_scaling"] = {{"type", "linear"}, {"factor", 2.0}};
  config["rope_parameters"] = {
      {"rope_type", "linear"}, {"factor", 4.0}, {"rope_theta", config["rope_theta"]}};
  write_json(folder / "config.json", config);
  EXPECT_THAT(open(folder.path()).notes,
              ElementsAre(HasSubstr("gives factor as 2.0 in rope_scaling and as 4.0 in "
                                    "rope_parameters: rope_scaling is used")));
  config["rope_parameters"]["factor"] = 2;
  write_json(folder / "config.json", config);
  EXPECT_THAT(open(folder.path()).notes, IsEmpty());
}

TEST(Disagree, keys_that_only_mlx_lm_obeys_are_left_out_with_a_note) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  const nlohmann::json plain = testing::tiny_model_config({});
  const auto rendered = [](const Checkpoint& checkpoint) {
    const std::vector<std::optional<AffineFormat>> formats(checkpoint.units.size());
    return nlohmann::json::parse(render_config(checkpoint, formats, DType::kBF16));
  };
  const std::vector<std::pair<std::string, nlohmann::json>> keys = {
      {"model_file", "modeling_x.py"},
      {"quantize_activations", true},
      {"text_config", {{"dtype", "float16"}}},
      {"vision_config", {{"depth", 2}}},
      {"layer_types", {"full_attention", "sliding_attention"}},
      {"layer_types", {"full_attention"}}};
  for (const auto& [key, value] : keys) {
    auto config = plain;
    config[key] = value;
    write_json(folder / "config.json", config);
    const Checkpoint checkpoint = open(folder.path());
    EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("config.json sets " + key)));
    EXPECT_FALSE(rendered(checkpoint).contains(key)) << key;
  }
  // Keys without effect cause no note.
  auto config = plain;
  config["model_file"] = nullptr;
  config["quantize_activations"] = false;
  config["layer_types"] = {"full_attention", "full_attention"};
  write_json(folder / "config.json", config);
  const Checkpoint checkpoint = open(folder.path());
  EXPECT_THAT(checkpoint.notes, IsEmpty());
  EXPECT_FALSE(rendered(checkpoint).contains("model_file"));
  // mlx_lm would compute a different model than transformers.
  config = plain;
  config["rope_traditional"] = true;
  write_json(folder / "config.json", config);
  expect_disagreement_refused(folder.path(), Code::kUnsupported, "rope_traditional is true");
  config = plain;
  config["text_config"] = {{"quantization_config", {{"quant_method", "awq"}}}};
  write_json(folder / "config.json", config);
  expect_disagreement_refused(folder.path(), Code::kUnsupported, "already quantized with awq");
}

}  // namespace
}  // namespace ram
