// Real folders: shards with and without an index, the local cache, files that are missing or do not
// belong, and files that are copied along.
#include "folder.h"

#include <fstream>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "support/environment.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using testing::Environment;
using ::testing::HasSubstr;
using ::testing::Not;
using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

void expect_folder_refused(const fs::path& folder, Code code, const std::string& reason) {
  SCOPED_TRACE(reason);
  try {
    Checkpoint::open(folder.string());
    ADD_FAILURE() << "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), code) << error.what();
    EXPECT_THAT(error.what(), HasSubstr(reason));
    EXPECT_THAT(error.what(), Not(HasSubstr("\n")));
  }
}

/// Writes the tensors of a tiny model, changed by `edit`, as its only file.
void rewrite(const fs::path& folder, const TinyModel& model,
             const std::function<void(std::vector<TensorSpec>&)>& edit) {
  auto specs = testing::tiny_model_tensors(model);
  edit(specs);
  testing::write_tensors(folder / "model.safetensors", specs, [&](const TensorSpec& spec) {
    return testing::tiny_model_values(model, spec);
  });
}

void remove_named(std::vector<TensorSpec>& specs, const std::string& name) {
  ASSERT_EQ(std::erase_if(specs, [&](const TensorSpec& spec) { return spec.name == name; }), 1U);
}

TEST(Folder, shards_are_found_with_and_without_an_index) {
  const TempFolder one;
  const TempFolder indexed;
  const TempFolder loose;
  write_tiny_model(one.path(), {});
  write_tiny_model(indexed.path(), {.shards = 3});
  write_tiny_model(loose.path(), {.shards = 3, .index = false});
  const Checkpoint whole = Checkpoint::open(one.path().string());
  for (const TempFolder* folder : {&indexed, &loose}) {
    const Checkpoint sharded = Checkpoint::open(folder->path().string());
    EXPECT_EQ(sharded.files.size(), 3U);
    ASSERT_EQ(sharded.units.size(), whole.units.size());
    EXPECT_EQ(sharded.bytes(), whole.bytes());
  }
  EXPECT_EQ(whole.files.size(), 1U);
}

TEST(Folder, files_beside_the_index_are_not_read) {
  const TempFolder folder;
  write_tiny_model(folder.path(), {.shards = 2});
  write_file_atomic(folder / "consolidated.safetensors", "nothing of ours");
  EXPECT_EQ(Checkpoint::open(folder.path().string()).files.size(), 2U);
}

TEST(Folder, a_missing_shard_is_named) {
  for (const bool index : {true, false}) {
    const TempFolder folder;
    write_tiny_model(folder.path(), {.shards = 3, .index = index});
    fs::remove(folder / "model-00002-of-00003.safetensors");
    expect_folder_refused(folder.path(), Code::kMissing, "shard model-00002-of-00003.safetensors");
  }
}

TEST(Folder, an_index_that_is_none_is_refused) {
  const TempFolder folder;
  write_tiny_model(folder.path(), {.shards = 2});
  // Only the index can say whether these are all files.
  fs::rename(folder / "model-00001-of-00002.safetensors", folder / "model-a.safetensors");
  fs::rename(folder / "model-00002-of-00002.safetensors", folder / "model-b.safetensors");
  const fs::path path = folder / "model.safetensors.index.json";
  auto index = nlohmann::json::parse(read_text_file(path, 1 << 20));
  index["weight_map"]["model.embed_tokens.weight"] = "../x.safetensors";
  write_file_atomic(path, index.dump());
  expect_folder_refused(folder.path(), Code::kCorrupt,
                        "'../x.safetensors' is not a file of this folder");
  index["weight_map"]["model.embed_tokens.weight"] = 7;
  write_file_atomic(path, index.dump());
  expect_folder_refused(folder.path(), Code::kCorrupt, "is not a file of this folder");
  write_file_atomic(path, "[]");
  expect_folder_refused(folder.path(), Code::kCorrupt, "no weight_map");
  write_file_atomic(path, "{\"weight_map\": ");
  expect_folder_refused(folder.path(), Code::kCorrupt, "not valid JSON");
}

TEST(Folder, numbered_shards_serve_without_a_damaged_index) {
  const TempFolder folder;
  write_tiny_model(folder.path(), {.shards = 2});
  for (const char* text : {"", "{\"weight_map\": ", "[]"}) {
    write_file_atomic(folder / "model.safetensors.index.json", text);
    const Checkpoint checkpoint = Checkpoint::open(folder.path().string());
    EXPECT_EQ(checkpoint.files.size(), 2U);
    EXPECT_THAT(checkpoint.notes, ElementsAre(HasSubstr("since every numbered shard is there")));
  }
  fs::remove(folder / "model-00001-of-00002.safetensors");
  expect_folder_refused(folder.path(), Code::kCorrupt, "no weight_map");
}

TEST(Folder, cached_models_are_listed_as_they_are_found) {
  const TempFolder cache;
  const Environment hub("HF_HUB_CACHE", cache.path().string());
  for (const char* name : {"models--org--my--model", "models--gpt2", "models--a--b",
                           "models--x--$(touch y)", "models--x--two words", "datasets--a--c"}) {
    write_tiny_model(cache / name / "snapshots" / "1", {});
  }
  // A damaged refs/main affects only its model, and that one has a snapshot.
  fs::create_directories(cache / "models--a--b" / "refs");
  write_file_atomic(cache / "models--a--b" / "refs" / "main", std::string(5000, 'x'));
  const std::vector<std::string> models = cached_models();
  EXPECT_THAT(models, ElementsAre("a/b", "gpt2", "org/my--model"));
  for (const std::string& id : models) EXPECT_EQ(Checkpoint::open(id).name, id);
}

TEST(Folder, a_missing_tensor_is_named) {
  const TempFolder folder;
  for (const auto& [family, name] : std::vector<std::pair<std::string, std::string>>{
           {"llama", "model.layers.1.mlp.up_proj.weight"},
           {"llama", "lm_head.weight"},
           {"llama", "model.embed_tokens.weight"},
           {"qwen2", "model.layers.1.self_attn.v_proj.bias"},
           {"qwen3", "model.layers.0.self_attn.k_norm.weight"},
           {"qwen3_moe", "model.layers.1.mlp.experts.3.down_proj.weight"},
           {"qwen3_moe", "model.layers.0.mlp.experts.0.gate_proj.weight"},
           {"qwen2_moe", "model.layers.1.mlp.shared_expert_gate.weight"},
           {"mixtral", "model.layers.1.block_sparse_moe.experts.2.w3.weight"},
           {"mixtral", "model.layers.1.block_sparse_moe.gate.weight"}}) {
    const TinyModel model = {.model_type = family};
    write_tiny_model(folder.path(), model);
    rewrite(folder.path(), model, [&](auto& specs) { remove_named(specs, name); });
    expect_folder_refused(folder.path(), Code::kMissing, "tensor " + name + " is missing");
  }
}

TEST(Folder, a_tensor_of_another_shape_is_refused) {
  const TempFolder folder;
  for (const std::string name :
       {"model.embed_tokens.weight", "model.layers.0.mlp.experts.2.up_proj.weight",
        "model.layers.1.input_layernorm.weight"}) {
    const TinyModel model = {.model_type = "qwen3_moe"};
    write_tiny_model(folder.path(), model);
    rewrite(folder.path(), model, [&](auto& specs) {
      for (TensorSpec& spec : specs) {
        if (spec.name == name) spec.shape.back() += 1;
      }
    });
    expect_folder_refused(folder.path(), Code::kCorrupt, "tensor " + name + " has shape");
  }
}

TEST(Folder, a_tensor_without_a_place_is_refused) {
  const TempFolder folder;
  for (const std::string name : {"model.layers.2.mlp.up_proj.weight", "score.weight",
                                 "model.layers.0.self_attn.q_proj.bias", "vision.weight"}) {
    write_tiny_model(folder.path(), {});
    rewrite(folder.path(), {}, [&](auto& specs) { specs.push_back({name, DType::kBF16, {2, 2}}); });
    expect_folder_refused(folder.path(), Code::kUnsupported,
                          "tensor " + name + " has no place in a llama of 2 layers");
  }
}

TEST(Folder, quantized_weights_and_other_dtypes_are_refused) {
  const TempFolder folder;
  for (const std::string name : {"lm_head.scales", "model.layers.0.mlp.up_proj.qweight",
                                 "model.layers.0.mlp.up_proj.weight_scale_inv"}) {
    write_tiny_model(folder.path(), {});
    rewrite(folder.path(), {}, [&](auto& specs) { specs.push_back({name, DType::kF32, {2}}); });
    expect_folder_refused(folder.path(), Code::kUnsupported, "already quantized");
  }
  auto specs = testing::tiny_model_tensors({});
  for (const DType dtype : {DType::kF8E4M3, DType::kU32, DType::kF64}) {
    specs.back().dtype = dtype;
    const std::string header = render_safetensors_header(specs, {});
    int64_t data = 0;
    for (const TensorSpec& spec : specs) data += spec.bytes();
    write_file_atomic(folder / "model.safetensors",
                      header + std::string(static_cast<size_t>(data), '\0'));
    expect_folder_refused(folder.path(), Code::kUnsupported,
                          "tensor lm_head.weight is " + std::string(dtype_name(dtype)));
  }
}

TEST(Folder, experts_of_several_dtypes_are_refused) {
  const TempFolder folder;
  const TinyModel model = {.model_type = "mixtral"};
  write_tiny_model(folder.path(), model);
  rewrite(folder.path(), model, [](auto& specs) {
    for (TensorSpec& spec : specs) {
      if (spec.name == "model.layers.0.block_sparse_moe.experts.1.w1.weight")
        spec.dtype = DType::kF32;
    }
  });
  expect_folder_refused(folder.path(), Code::kUnsupported, "must share one dtype");
}

TEST(Folder, a_config_of_a_billion_layers_costs_nothing) {
  const TempFolder folder;
  write_tiny_model(folder.path(), {});
  auto config = testing::tiny_model_config({});
  config["num_hidden_layers"] = 4000;
  write_file_atomic(folder / "config.json", config.dump());
  expect_folder_refused(folder.path(), Code::kMissing,
                        "tensor model.layers.2.input_layernorm.weight is missing");
}

TEST(Folder, an_id_resolves_through_the_local_cache) {
  const TempFolder cache;
  const fs::path repository = cache / "models--Org--tiny-model";
  write_tiny_model(repository / "snapshots" / "aaa", {.seed = 1});
  write_tiny_model(repository / "snapshots" / "bbb", {.seed = 2});
  // Files in the cache are links to blobs.
  fs::create_directories(repository / "blobs");
  fs::rename(repository / "snapshots" / "aaa" / "model.safetensors", repository / "blobs" / "0a1b");
  fs::create_symlink("../../blobs/0a1b", repository / "snapshots" / "aaa" / "model.safetensors");
  fs::create_directories(repository / "refs");
  write_file_atomic(repository / "refs" / "main", "aaa");

  const Environment hub("HF_HUB_CACHE", cache.path().string());
  const Checkpoint checkpoint = Checkpoint::open("Org/tiny-model");
  EXPECT_EQ(checkpoint.name, "Org/tiny-model");
  EXPECT_EQ(checkpoint.folder, repository / "snapshots" / "aaa");
  EXPECT_EQ(checkpoint.files.size(), 1U);
  // Given as a folder, it has the same name.
  EXPECT_EQ(Checkpoint::open((repository / "snapshots" / "bbb").string() + "/").name,
            "Org/tiny-model");

  // Without refs/main, or with a wrong one, the newest is used.
  fs::last_write_time(
      repository / "snapshots" / "aaa",
      fs::last_write_time(repository / "snapshots" / "bbb") - std::chrono::hours(1));
  write_file_atomic(repository / "refs" / "main", "ccc\n");
  EXPECT_EQ(Checkpoint::open("Org/tiny-model").folder, repository / "snapshots" / "bbb");
  fs::remove_all(repository / "refs");
  EXPECT_EQ(Checkpoint::open("Org/tiny-model").folder, repository / "snapshots" / "bbb");

  expect_folder_refused("Org/other", Code::kMissing, "fetch it with `hf download Org/other`");
  fs::remove(repository / "snapshots" / "bbb" / "model.safetensors");
  expect_folder_refused("Org/tiny-model", Code::kMissing,
                        "fetch it with `hf download Org/tiny-model`");
}

TEST(Folder, the_cache_is_where_the_environment_says) {
  const TempFolder home;
  const Environment no_hub("HF_HUB_CACHE", "");
  const Environment no_old("HUGGINGFACE_HUB_CACHE", "");
  const Environment hf_home("HF_HOME", (home / "hf").string());
  write_tiny_model(home.path() / "hf/hub/models--a--b/snapshots/1", {});
  EXPECT_EQ(Checkpoint::open("a/b").layers, 2);
  const Environment no_hf_home("HF_HOME", "");
  const Environment no_xdg("XDG_CACHE_HOME", "");
  const Environment user("HOME", home.path().string());
  expect_folder_refused("a/b", Code::kMissing, (home / ".cache/huggingface/hub").string());
  write_tiny_model(home.path() / ".cache/huggingface/hub/models--a--b/snapshots/1", {});
  EXPECT_EQ(Checkpoint::open("a/b").layers, 2);
}

}  // namespace
}  // namespace ram
