// What users give instead of a model's folder: each has its own sentence, with what to do next.
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/checkpoint.h"
#include "ram/error.h"

#include "support/environment.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using testing::Environment;
using ::testing::HasSubstr;
using testing::TempFolder;

std::string refusal(const std::string& model) {
  try {
    Checkpoint::open(model);
    return "was accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kMissing) << error.what();
    EXPECT_EQ(std::string(error.what()).find('\n'), std::string::npos);
    return error.what();
  }
}

/// The message for a folder with these files.
std::string refusal_of(const std::vector<std::pair<std::string, std::string>>& files) {
  const TempFolder folder;
  for (const auto& [name, text] : files) {
    fs::create_directories((folder / name).parent_path());
    write_file_atomic(folder / name, text);
  }
  return refusal(folder.path().string());
}

TEST(Foreign, folders_of_other_kinds_are_called_by_their_name) {
  EXPECT_THAT(refusal_of({}), HasSubstr("the folder is empty"));
  EXPECT_THAT(refusal_of({{"notes.txt", "x"}}), HasSubstr("give the folder of a model"));
  EXPECT_THAT(refusal_of({{"m-Q4.gguf", "x"}, {"README.md", "x"}}),
              HasSubstr("only GGUF (m-Q4.gguf), llama.cpp's format: give the folder"));
  EXPECT_THAT(refusal_of({{"adapter_config.json", R"({"base_model_name_or_path": "Org/Base"})"},
                          {"adapter_model.safetensors", "x"}}),
              HasSubstr("this is a LoRA adapter: merge it into Org/Base first"));
  EXPECT_THAT(refusal_of({{"adapter_config.json", "{"}}), HasSubstr("into its base model first"));
  EXPECT_THAT(refusal_of({{"adapter_config.json", R"({"model": "a\nb"})"}}),
              HasSubstr("into a\xEF\xBF\xBD"
                        "b first"));
  EXPECT_THAT(refusal_of({{"model_index.json", "{}"}, {"unet/config.json", "{}"}}),
              HasSubstr("a pipeline of diffusers"));
  EXPECT_THAT(refusal_of({{"pytorch_model.bin", "x"}}),
              HasSubstr("only PyTorch's own format (pytorch_model.bin): load it"));
  EXPECT_THAT(refusal_of({{"model.onnx", "x"}}), HasSubstr("only model.onnx"));
  EXPECT_THAT(refusal_of({{"consolidated.safetensors", "x"}, {"params.json", "{}"}}),
              HasSubstr("consolidated.safetensors: mlx_lm and transformers read"));
  EXPECT_THAT(refusal_of({{"inner/config.json", "{}"}}), HasSubstr("inner has a config.json"));
}

TEST(Foreign, a_model_without_weights_says_what_it_has) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  fs::remove(folder / "model.safetensors");
  EXPECT_THAT(refusal(folder.path().string()), HasSubstr("no model*.safetensors in"));
  write_file_atomic(folder / "pytorch_model-00001-of-00002.bin", "x");
  EXPECT_THAT(refusal(folder.path().string()), HasSubstr("only PyTorch's own format"));
  write_file_atomic(folder / "m-Q4.gguf", "x");
  EXPECT_THAT(refusal(folder.path().string()), HasSubstr("only GGUF (m-Q4.gguf)"));
  EXPECT_THAT(refusal((folder / "m-Q4.gguf").string()), HasSubstr("is a GGUF file"));
  EXPECT_THAT(refusal((folder / "config.json").string()), HasSubstr("is a file: give the model's"));
  EXPECT_THAT(refusal((folder / "nowhere/at/all").string()), HasSubstr("no folder"));
}

TEST(Foreign, a_pointer_of_git_lfs_says_how_to_fetch_the_file) {
  const TempFolder folder;
  testing::write_tiny_model(folder.path(), {});
  write_file_atomic(folder / "model.safetensors",
                    "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 123\n");
  EXPECT_THAT(refusal(folder.path().string()), HasSubstr("git lfs pull"));
}

TEST(Foreign, the_cache_and_its_folders_name_the_ids_in_them) {
  const TempFolder cache;
  testing::write_tiny_model(cache / "models--Org--Tiny-Model" / "snapshots" / "1", {});
  EXPECT_THAT(refusal(cache.path().string()),
              HasSubstr("this is the Hugging Face cache: give the id of a model in it, as "
                        "Org/Tiny-Model"));
  for (const char* end : {"", "/"}) {
    EXPECT_THAT(refusal((cache / "models--Org--Tiny-Model").string() + end),
                HasSubstr("give its id, Org/Tiny-Model"));
  }
  const TempFolder home;
  fs::create_directory_symlink(cache.path(), home / "hub");
  EXPECT_THAT(refusal(home.path().string()), HasSubstr("this is the Hugging Face cache"));
  const Environment hub("HF_HUB_CACHE", cache.path().string());
  EXPECT_EQ(Checkpoint::open("Org/Tiny-Model").name, "Org/Tiny-Model");
  EXPECT_THAT(refusal("org/tiny-model"), HasSubstr("did you mean Org/Tiny-Model?"));
  EXPECT_THAT(refusal("Org/Other"), HasSubstr("fetch it with `hf download Org/Other`"));
}

TEST(Foreign, a_link_to_the_hub_is_taken_apart) {
  for (const char* link :
       {"https://huggingface.co/Org/Name", "https://huggingface.co/Org/Name/tree/main",
        "huggingface.co/Org/Name?x=1", "https://hf.co/Org/Name#files",
        "HTTPS://HuggingFace.co/Org/Name", "hf://huggingface.co/models/Org/Name"}) {
    EXPECT_THAT(refusal(link), HasSubstr("give the id, Org/Name (`hf download Org/Name`")) << link;
  }
  EXPECT_THAT(refusal("https://example.org/Org/Name"), HasSubstr("no folder https://"));
  EXPECT_THAT(refusal("https://huggingface.co/"), HasSubstr("no folder https://"));
  EXPECT_THAT(refusal("a\x1b[31mb"), HasSubstr("no folder a\xEF\xBF\xBD[31mb"));
}

TEST(Foreign, a_link_to_a_blob_that_was_not_fetched_names_the_command) {
  const TempFolder cache;
  const fs::path repository = cache / "models--Org--Name";
  for (const char* file : {"model.safetensors", "config.json"}) {
    fs::remove_all(repository);
    const fs::path snapshot = repository / "snapshots/abc";
    testing::write_tiny_model(snapshot, {});
    fs::remove(snapshot / file);
    fs::create_symlink("../../blobs/ffff", snapshot / file);
    const Environment hub("HF_HUB_CACHE", cache.path().string());
    EXPECT_THAT(refusal("Org/Name"), HasSubstr("hf download Org/Name")) << file;
    EXPECT_THAT(refusal(snapshot.string()), HasSubstr("hf download Org/Name")) << file;
  }
}

}  // namespace
}  // namespace ram
