// Which files make up a model: the folder behind an id of the Hugging Face cache, the shards, and
// what is carried along. Knows file names, not tensors' meaning.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "ram/checkpoint.h"

namespace ram {

struct ModelFolder {
  std::filesystem::path path;
  std::string name;  ///< for people
  std::string
      fetch;  ///< what a message about a missing file adds: the command that fetches the model
};

/// @throws Error{kMissing} neither a folder nor an id in the local cache.
ModelFolder find_model_folder(const std::string& folder_or_id);

struct ShardList {
  std::vector<std::string> files;              ///< names in the folder, sorted
  std::map<std::string, std::string> located;  ///< tensor -> file, where there is an index
};

/// @throws Error{kMissing} no weights, or a shard is not there; {kCorrupt} the index is no index.
ShardList find_shards(const ModelFolder& folder);

/// Tokenizer, chat template, generation settings, licence: what mlx_lm and transformers need beside
/// config.json and the weights. Sorted by name.
std::vector<CarriedFile> find_carried_files(const std::filesystem::path& folder);

/// @return "license" of README.md's front matter; empty if there is none.
std::string read_licence(const std::filesystem::path& folder);

}  // namespace ram
