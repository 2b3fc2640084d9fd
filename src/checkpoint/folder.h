// Which files make up a model: the folder behind an id of the Hugging Face cache, and the shards.
// Knows file names, not tensors' meaning.
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
  std::vector<std::string> notes;
};

/// The files that the index names, and every model*.safetensors, which mlx_lm reads whatever the
/// index says. Where model.safetensors is there, an index is not needed: both peers load it alone.
/// @throws Error{kMissing} no weights, or a shard is not there; {kCorrupt} the index is no index.
ShardList find_shards(const ModelFolder& folder);

}  // namespace ram
