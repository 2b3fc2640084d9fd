// The layout of model folders and of the Hugging Face cache.
// @source huggingface_hub 1.x, constants.py (HF_HOME, HF_HUB_CACHE) and file_download.py (cache
// layout)
#include "folder.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <set>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/safetensors.h"

#include "json_text.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

// An index of 20,000 tensors takes 3 MB; a README's front matter is at its start.
constexpr int64_t kMaxIndexBytes = int64_t{256} << 20;
constexpr int64_t kFrontMatterBytes = int64_t{64} << 10;
constexpr const char* kIndexName = "model.safetensors.index.json";

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

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

/// "name" or "organisation/name" as the hub allows them.
bool is_repository_id(std::string_view text) {
  if (text.empty() || text.front() == '/' || text.front() == '.' || text.back() == '/')
    return false;
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
  });
  return plain && std::count(text.begin(), text.end(), '/') <= 1;
}

std::string first_word(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return "";
  std::string text = read_text_file(file, 4096);
  return text.substr(0, text.find_first_of(" \t\r\n"));
}

/// The snapshot that refs/main names, else the one changed last; empty if there is none.
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
    // Equal times are told apart by name, so that the choice does not depend on the disk's order.
    if (newest.empty() || time > newest_time || (time == newest_time && entry.path() > newest)) {
      newest = entry.path();
      newest_time = time;
    }
  }
  return newest;
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

/// The repository's id if this folder is a snapshot of the cache, else the folder's own name.
std::string name_of(const fs::path& folder) {
  std::error_code error;
  fs::path whole = fs::absolute(folder, error).lexically_normal();
  if (whole.filename().empty()) whole = whole.parent_path();
  const std::string repository = whole.parent_path().parent_path().filename().string();
  if (whole.parent_path().filename() == "snapshots" && repository.starts_with("models--")) {
    return replaced(repository.substr(8), "--", "/");
  }
  return whole.filename().string();
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

[[noreturn]] void fail_without_weights(const ModelFolder& folder,
                                       const std::vector<std::string>& names) {
  for (const std::string& name : names) {
    if (name.ends_with(".gguf")) {
      fail(Code::kMissing,
           "no model*.safetensors, only GGUF ({}): give the folder of the original "
           "model in safetensors ({})",
           printable(name), folder.path.string());
    }
    if (name.ends_with(".bin") || name.ends_with(".pt") || name.ends_with(".pth")) {
      fail(Code::kMissing,
           "no model*.safetensors, only PyTorch's own format ({}): load it with "
           "transformers and save it with save_pretrained, which writes safetensors ({})",
           printable(name), folder.path.string());
    }
  }
  fail(Code::kMissing, "no model*.safetensors in {}{}", folder.path.string(), folder.fetch);
}

/// @return N of "model-00002-of-0000N.safetensors"; 0 for a name of another form.
int shard_count(std::string_view name) {
  constexpr std::string_view kForm = "model-#####-of-#####.safetensors";
  if (name.size() != kForm.size()) return 0;
  int count = 0;
  for (size_t i = 0; i < kForm.size(); ++i) {
    const bool digit = name[i] >= '0' && name[i] <= '9';
    if (kForm[i] == '#' ? !digit : name[i] != kForm[i]) return 0;
    // The first number is done when the second one begins.
    if (digit) count = kForm[i - 1] == '#' ? 10 * count + (name[i] - '0') : name[i] - '0';
  }
  return count;
}

/// Where names say how many shards there are, all must be there.
void check_numbered_shards(const ModelFolder& folder, const std::vector<std::string>& files) {
  for (const std::string& file : files) {
    const int count = shard_count(file);
    for (int i = 1; i <= count; ++i) {
      const std::string wanted = fmt::format("model-{:05d}-of-{:05d}.safetensors", i, count);
      if (std::binary_search(files.begin(), files.end(), wanted)) continue;
      fail(Code::kMissing, "shard {} is missing ({}){}", wanted, folder.path.string(),
           folder.fetch);
    }
  }
}

ShardList read_index(const ModelFolder& folder) {
  const fs::path path = folder.path / kIndexName;
  const nlohmann::json index = parse_json(read_text_file(path, kMaxIndexBytes), path.string());
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
      fail(Code::kCorrupt, "weight_map: '{}' is no file of this folder (tensor {}, {})",
           printable(name), printable(tensor), path.string());
    }
    files.insert(name);
    shards.located.emplace(tensor, name);
  }
  for (const std::string& name : files) {
    std::error_code error;
    if (fs::is_regular_file(folder.path / name, error)) continue;
    fail(Code::kMissing, "shard {} is missing: {} names it ({}){}", printable(name), kIndexName,
         folder.path.string(), folder.fetch);
  }
  shards.files.assign(files.begin(), files.end());
  return shards;
}

bool is_carried(std::string_view name) {
  // @source mlx_lm 0.32, utils.py, DEFAULT_ALLOW_PATTERNS and `save`; transformers 5.23, the files
  // of PreTrainedTokenizerBase.save_pretrained
  static constexpr std::array<std::string_view, 12> kNames = {"tokenizer.json",
                                                              "tokenizer_config.json",
                                                              "special_tokens_map.json",
                                                              "added_tokens.json",
                                                              "vocab.json",
                                                              "vocab.txt",
                                                              "merges.txt",
                                                              "tokenizer.model",
                                                              "spiece.model",
                                                              "chat_template.json",
                                                              "generation_config.json",
                                                              "sentencepiece.bpe.model"};
  static constexpr std::array<std::string_view, 4> kEndings = {".jinja", ".tiktoken", ".py",
                                                               "processor_config.json"};
  static constexpr std::array<std::string_view, 5> kBeginnings = {
      "tokenizer.model.", "LICENSE", "LICENCE", "NOTICE", "USE_POLICY"};
  const auto ends = [&](std::string_view ending) { return name.ends_with(ending); };
  const auto begins = [&](std::string_view beginning) { return name.starts_with(beginning); };
  return std::find(kNames.begin(), kNames.end(), name) != kNames.end() ||
         std::any_of(kEndings.begin(), kEndings.end(), ends) ||
         std::any_of(kBeginnings.begin(), kBeginnings.end(), begins);
}

}  // namespace

ModelFolder find_model_folder(const std::string& folder_or_id) {
  std::error_code error;
  if (fs::is_directory(folder_or_id, error)) return {folder_or_id, name_of(folder_or_id), ""};
  if (fs::exists(folder_or_id, error)) {
    fail(Code::kMissing,
         "{} is a file: give the model's folder, with config.json and "
         "model*.safetensors",
         printable(folder_or_id));
  }
  if (!is_repository_id(folder_or_id)) {
    fail(Code::kMissing, "no folder {}: give a model's folder, or an id as Qwen/Qwen3-8B",
         printable(folder_or_id));
  }
  const fs::path cache = cache_folder();
  const fs::path snapshot = find_snapshot(cache / ("models--" + replaced(folder_or_id, "/", "--")));
  if (snapshot.empty()) {
    fail(Code::kMissing,
         "no folder {0}, and no such model in the local cache {1}: fetch it with "
         "`hf download {0}`",
         folder_or_id, cache.string());
  }
  return {snapshot, folder_or_id, fmt::format(": fetch it with `hf download {}`", folder_or_id)};
}

fs::path find_model(const std::string& folder_or_id) {
  return find_model_folder(folder_or_id).path;
}

ShardList find_shards(const ModelFolder& folder) {
  std::error_code error;
  if (fs::exists(folder.path / kIndexName, error)) return read_index(folder);
  const std::vector<std::string> names = file_names(folder.path);
  ShardList shards;
  for (const std::string& name : names) {
    if (name.starts_with("model") && name.ends_with(".safetensors")) shards.files.push_back(name);
  }
  if (shards.files.empty()) fail_without_weights(folder, names);
  check_numbered_shards(folder, shards.files);
  return shards;
}

std::vector<CarriedFile> find_carried_files(const fs::path& folder) {
  std::vector<CarriedFile> files;
  for (const std::string& name : file_names(folder)) {
    std::error_code error;
    if (!is_carried(name) || !fs::is_regular_file(folder / name, error)) continue;
    files.push_back({name, file_identity(folder / name).size});
  }
  return files;
}

std::string read_licence(const fs::path& folder) {
  std::error_code error;
  if (!fs::is_regular_file(folder / "README.md", error)) return "";
  const InputFile file(folder / "README.md");
  std::string text(static_cast<size_t>(std::min(file.size(), kFrontMatterBytes)), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  if (!text.starts_with("---")) return "";
  for (size_t at = text.find('\n'); at != std::string::npos; at = text.find('\n', at + 1)) {
    const size_t end = text.find('\n', at + 1);
    const std::string line = text.substr(at + 1, end == std::string::npos ? end : end - at - 1);
    if (line.starts_with("---")) break;
    if (!line.starts_with("license:")) continue;
    const size_t first = line.find_first_not_of(" \t\"'", 8);
    const size_t last = line.find_last_not_of(" \t\r\"'");
    return first == std::string::npos ? "" : printable(line.substr(first, last - first + 1));
  }
  return "";
}

}  // namespace ram
