// The layout of model folders and of the Hugging Face cache.
// @source huggingface_hub 1.x, constants.py (HF_HOME, HF_HUB_CACHE) and file_download.py (cache
// layout)
#include "folder.h"

#include <algorithm>
#include <array>
#include <set>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/json_tree.h"
#include "ram/machine.h"
#include "ram/safetensors.h"

#include "foreign.h"
#include "json_text.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

// An index of 20,000 tensors takes 3 MB.
constexpr int64_t kMaxIndexBytes = int64_t{256} << 20;
constexpr size_t kMaxNameBytes = 200;
constexpr const char* kIndexName = "model.safetensors.index.json";
constexpr const char* kWholeName = "model.safetensors";

fs::path cache_folder() {
  for (const char* name : {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"}) {
    const std::string value = environment(name);
    if (!value.empty()) return value;
  }
  const std::string home = environment("HF_HOME");
  if (!home.empty()) return fs::path(home) / "hub";
  const std::string cache = environment("XDG_CACHE_HOME");
  if (!cache.empty()) return fs::path(cache) / "huggingface" / "hub";
  return fs::path(environment("HOME")) / ".cache" / "huggingface" / "hub";
}

/// Empty if the file cannot be read.
std::string first_word(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return "";
  try {
    const std::string text = read_text_file(file, 4096);
    return text.substr(0, text.find_first_of(" \t\r\n"));
  } catch (const Error&) {
    return "";  // the newest snapshot is used
  }
}

/// The snapshot that refs/main names, else the most recently changed; empty if there is none.
fs::path find_snapshot(const fs::path& repository) {
  std::error_code error;
  const std::string revision = first_word(repository / "refs" / "main");
  const bool plain =
      !revision.empty() && revision.find('/') == std::string::npos && revision != "..";
  if (plain && fs::is_directory(repository / "snapshots" / revision, error)) {
    return repository / "snapshots" / revision;
  }
  fs::path newest;
  fs::file_time_type newest_time;
  for (const auto& entry : fs::directory_iterator(repository / "snapshots", error)) {
    if (!entry.is_directory(error)) continue;
    const fs::file_time_type time = entry.last_write_time(error);
    // Equal times are ordered by name, so that the choice does not depend on the directory order.
    if (newest.empty() || time > newest_time || (time == newest_time && entry.path() > newest)) {
      newest = entry.path();
      newest_time = time;
    }
  }
  return newest;
}

/// The inverse of repository_of_cache_folder.
std::string cache_folder_of(std::string id) {
  const size_t slash = id.find('/');
  if (slash != std::string::npos) id.replace(slash, 1, "--");
  return "models--" + id;
}

fs::path whole_path(const fs::path& folder) {
  std::error_code error;
  const fs::path whole = fs::absolute(folder, error).lexically_normal();
  return whole.filename().empty() ? whole.parent_path() : whole;
}

/// Whether a folder is .../models--ORG--NAME/snapshots/REVISION, as in the cache.
bool is_snapshot(const fs::path& folder) {
  const fs::path snapshots = whole_path(folder).parent_path();
  return snapshots.filename() == "snapshots" &&
         !repository_of_cache_folder(snapshots.parent_path().filename().string()).empty();
}

/// The repository's id if this folder is a snapshot of the cache, else the folder's own name.
std::string name_of(const fs::path& folder) {
  const fs::path whole = whole_path(folder);
  const std::string name =
      is_snapshot(folder)
          ? repository_of_cache_folder(whole.parent_path().parent_path().filename().string())
          : whole.filename().string();
  // The name appears in plan.json, the model card and every table.
  return printable(name, kMaxNameBytes);
}

std::string fetch_command(const std::string& id) {
  return fmt::format(": fetch it with `hf download {}`", id);
}

std::vector<std::string> file_names(const fs::path& folder) {
  std::vector<std::string> names;
  std::error_code error;
  fs::directory_iterator entries(folder, error);
  if (error) fail(Code::kMissing, "cannot read folder {}: {}", folder.string(), error.message());
  for (const auto& entry : entries) {
    if (!entry.is_directory(error)) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// @return N of "model-00002-of-0000N.safetensors"; 0 for any other name.
int shard_count(std::string_view name) {
  constexpr std::string_view kForm = "model-#####-of-#####.safetensors";
  if (name.size() != kForm.size()) return 0;
  int count = 0;
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = name[i] >= '0' && name[i] <= '9';
    if (kForm[i] == '#' ? !digit : name[i] != kForm[i]) return 0;
    // The first number is complete when the second begins.
    if (digit) count = kForm[i - 1] == '#' ? 10 * count + (name[i] - '0') : name[i] - '0';
  }
  return count;
}

/// If names say how many shards there are, all must exist.
/// @return a missing one; empty: none is missing.
std::string missing_shard(const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    const int count = shard_count(file);
    for (int i = 1; i <= count; ++i) {
      std::string wanted = fmt::format("model-{:05d}-of-{:05d}.safetensors", i, count);
      if (!std::binary_search(files.begin(), files.end(), wanted)) return wanted;
    }
  }
  return "";
}

void check_numbered_shards(const ModelFolder& folder, const std::vector<std::string>& files) {
  const std::string missing = missing_shard(files);
  if (missing.empty()) return;
  fail(Code::kMissing, "shard {} is missing ({}){}", missing, folder.path.string(), folder.fetch);
}

/// What replaces an index that is damaged or cannot be read; empty: nothing.
/// @param read whether the index could be read, but names a missing file.
std::string whole_without_index(const std::vector<std::string>& files, bool read) {
  if (std::binary_search(files.begin(), files.end(), kWholeName)) return kWholeName;
  // An index that names a missing file may be right: the file may not be fetched yet.
  const bool numbered = std::any_of(files.begin(), files.end(),
                                    [](const std::string& file) { return shard_count(file) > 0; });
  const bool all = numbered && missing_shard(files).empty();
  return all && !read ? "every numbered shard" : "";
}

ShardList read_index(const ModelFolder& folder) {
  const fs::path path = folder.path / kIndexName;
  const JsonTree tree(parse_json(read_text_file(path, kMaxIndexBytes), path.string(), kAsPython));
  const nlohmann::json& index = *tree;
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (map == index.end() || !map->is_object() || map->empty()) {
    fail(Code::kCorrupt, "no weight_map: an object of tensor and file names is expected ({})",
         path.string());
  }
  ShardList shards;
  std::set<std::string> files;
  for (const auto& [tensor, file] : map->items()) {
    const std::string name = file.is_string() ? file.get<std::string>() : "";
    if (name.empty() || name.find('/') != std::string::npos ||
        name.find('\\') != std::string::npos) {
      fail(Code::kCorrupt, "weight_map: '{}' is not a file of this folder (tensor {}, {})",
           printable(name), printable(tensor), path.string());
    }
    files.insert(name);
    shards.located.emplace(tensor, name);
  }
  shards.files.assign(files.begin(), files.end());
  return shards;
}

void check_named_shards(const ModelFolder& folder, const ShardList& shards) {
  for (const std::string& name : shards.files) {
    std::error_code error;
    if (fs::is_regular_file(folder.path / name, error)) continue;
    fail(Code::kMissing, "shard {} is missing: {} names it ({}){}", printable(name), kIndexName,
         folder.path.string(), folder.fetch);
  }
}

}  // namespace

ModelFolder find_model_folder(const std::string& folder_or_id) {
  std::error_code error;
  if (fs::is_directory(folder_or_id, error)) {
    const std::string name = name_of(folder_or_id);
    return {folder_or_id, name, is_snapshot(folder_or_id) ? fetch_command(name) : ""};
  }
  const fs::path cache = cache_folder();
  const fs::path snapshot = is_repository_id(folder_or_id) && !fs::exists(folder_or_id, error)
                                ? find_snapshot(cache / cache_folder_of(folder_or_id))
                                : fs::path();
  if (snapshot.empty()) fail_foreign_name(folder_or_id, cache);
  return {snapshot, folder_or_id, fetch_command(folder_or_id)};
}

std::vector<std::string> cached_models() {
  std::vector<std::string> ids;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(cache_folder(), error)) {
    const std::string id = repository_of_cache_folder(entry.path().filename().string());
    // Shells complete words with these ids and would run a $(...) in them.
    if (!is_repository_id(id)) continue;
    const fs::path snapshot = find_snapshot(entry.path());
    if (snapshot.empty() || !fs::exists(snapshot / "config.json", error)) continue;
    ids.push_back(id);
  }
  std::sort(ids.begin(), ids.end());
  return ids;
}

fs::path find_model(const std::string& folder_or_id) {
  return find_model_folder(folder_or_id).path;
}

ShardList find_shards(const ModelFolder& folder) {
  const std::vector<std::string> names = file_names(folder.path);
  std::vector<std::string> found;
  for (const std::string& name : names) {
    if (name.starts_with("model") && name.ends_with(".safetensors")) found.push_back(name);
  }
  const bool whole = std::binary_search(found.begin(), found.end(), kWholeName);
  ShardList shards;
  std::error_code error;
  if (std::binary_search(names.begin(), names.end(), kIndexName)) {
    bool read = false;
    try {
      ShardList named = read_index(folder);
      read = true;
      check_named_shards(folder, named);
      shards = std::move(named);
    } catch (const Error& damage) {
      // @source transformers 5.24, modeling_utils.py: model.safetensors takes precedence over an
      // index; mlx_lm 0.32.2, utils.py, `load_model` reads no index
      const std::string instead = whole_without_index(found, read);
      if (instead.empty()) throw;
      shards.notes.push_back(
          fmt::format("{} is ignored, since {} is there: {}", kIndexName, instead, damage.what()));
    }
  }
  if (shards.files.empty()) {
    if (found.empty()) fail_foreign_folder(folder, "model*.safetensors");
    if (!whole) check_numbered_shards(folder, found);
  }
  shards.files.insert(shards.files.end(), found.begin(), found.end());
  std::sort(shards.files.begin(), shards.files.end());
  shards.files.erase(std::unique(shards.files.begin(), shards.files.end()), shards.files.end());
  for (const std::string& name : shards.files) {
    if (fs::is_regular_file(folder.path / name, error)) continue;
    const bool link = fs::is_symlink(folder.path / name, error);
    fail(Code::kMissing, "{} is {} ({}){}", printable(name),
         link ? "a dangling link: its file was not fetched" : "not a regular file",
         folder.path.string(), folder.fetch);
  }
  return shards;
}

}  // namespace ram
