// The files of a model: the folder behind an id of the Hugging Face cache, and the shards. Knows
// file names, not the meaning of tensors.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "ram/checkpoint.h"

namespace ram {

struct ModelFolder {
  std::filesystem::path path;
  std::string name;  ///< as shown to users
  std::string
      fetch;  ///< appended to a message about a missing file: the command that fetches the model
};

/// @throws Error{kMissing} neither a folder nor an id in the local cache.
ModelFolder find_model_folder(const std::string& folder_or_id);

struct ShardList {
  std::vector<std::string> files;              ///< names in the folder, sorted
  std::map<std::string, std::string> located;  ///< tensor -> file, if there is an index
  std::vector<std::string> notes;
};

/// The files that the index names, and every model*.safetensors, which mlx_lm reads regardless of
/// the index. With a model.safetensors, no index is needed: transformers and mlx_lm load it alone.
/// @throws Error{kMissing} no weights, or a missing shard; {kCorrupt} the index is not valid.
ShardList find_shards(const ModelFolder& folder);

}  // namespace ram
