// One sentence for each: GGUF, adapters, pipelines, other containers, the cache itself, links to
// the hub. The decision uses only file names, and for an adapter the base model in its settings.
#include "foreign.h"

#include <algorithm>
#include <cctype>
#include <functional>
#include <optional>
#include <string_view>
#include <system_error>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/json_tree.h"
#include "ram/text.h"

#include "folder.h"
#include "json_text.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxAdapterConfigBytes = int64_t{1} << 20;

std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return out;
}

struct Entry {
  std::string name;
  bool folder = false;
};

/// Sorted by name; empty if the folder cannot be read.
std::vector<Entry> entries_of(const fs::path& folder) {
  std::vector<Entry> entries;
  std::error_code error;
  for (fs::directory_iterator at(folder, error); !error && at != fs::directory_iterator();
       at.increment(error)) {
    std::error_code ignored;
    entries.push_back({at->path().filename().string(), at->is_directory(ignored)});
  }
  std::sort(entries.begin(), entries.end(),
            [](const Entry& a, const Entry& b) { return a.name < b.name; });
  return entries;
}

std::string first_with(const std::vector<Entry>& entries,
                       const std::function<bool(const std::string&)>& wanted) {
  const auto at = std::find_if(entries.begin(), entries.end(), [&](const Entry& entry) {
    return !entry.folder && wanted(lower(entry.name));
  });
  return at == entries.end() ? "" : at->name;
}

/// The base model of an adapter, from its settings.
std::string base_of_adapter(const fs::path& folder) {
  try {
    const std::string file = (folder / "adapter_config.json").string();
    const JsonTree tree(parse_json(read_text_file(file, kMaxAdapterConfigBytes), file, kAsPython));
    const nlohmann::json& json = *tree;
    for (const char* key : {"base_model_name_or_path", "model"}) {
      if (json.is_object() && json.contains(key) && json[key].is_string()) {
        return printable(json[key].get<std::string>());
      }
    }
  } catch (const Error&) {
    // Without settings the sentence names no model.
  }
  return "its base model";
}

std::string subfolder_with_config(const fs::path& folder, const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) {
    std::error_code error;
    if (entry.folder && fs::is_regular_file(folder / entry.name / "config.json", error)) {
      return entry.name;
    }
  }
  return "";
}

/// A repository of a cache, whether the folder is the cache or its parent (HF_HOME).
std::string first_repository(const fs::path& folder, const std::vector<Entry>& entries) {
  for (const Entry& entry : entries) {
    if (!entry.folder) continue;
    std::string id = repository_of_cache_folder(entry.name);
    if (!id.empty()) return id;
    if (entry.name != "hub") continue;
    for (const Entry& inner : entries_of(folder / entry.name)) {
      std::string inner_id = repository_of_cache_folder(inner.name);
      if (inner.folder && !inner_id.empty()) return inner_id;
    }
  }
  return "";
}

/// The sentence, or nothing if the folder is none of these.
std::optional<std::string> kind_of(const fs::path& folder, const std::vector<Entry>& entries) {
  const auto has = [&](const std::string& name) {
    return !first_with(entries, [&](const std::string& found) { return found == name; }).empty();
  };
  const auto ending = [&](std::initializer_list<std::string_view> ends) {
    return first_with(entries, [&](const std::string& name) {
      return std::any_of(ends.begin(), ends.end(),
                         [&](std::string_view end) { return name.ends_with(end); });
    });
  };
  if (entries.empty()) return "the folder is empty: give the folder of a model";
  if (has("adapter_config.json")) {
    return fmt::format(
        "this is a LoRA adapter: merge it into {} first (peft's merge_and_unload and "
        "save_pretrained, or mlx_lm.fuse), and give the merged folder",
        base_of_adapter(folder));
  }
  if (has("model_index.json")) {
    return "this is a pipeline of diffusers, which makes images: give a language model";
  }
  const std::string cached = first_repository(folder, entries);
  if (!cached.empty()) {
    return fmt::format(
        "this is the Hugging Face cache: give the id of a model in it, as {}, or the folder of a "
        "snapshot",
        printable(cached));
  }
  std::error_code error;
  fs::path whole = fs::absolute(folder, error).lexically_normal();
  if (!whole.has_filename()) whole = whole.parent_path();
  const std::string id = repository_of_cache_folder(whole.filename().string());
  if (!id.empty()) {
    return fmt::format("this is the cache's folder of a repository: give its id, {}",
                       printable(id));
  }
  const std::string gguf = ending({".gguf", ".ggml"});
  if (!gguf.empty()) {
    return fmt::format(
        "only GGUF ({}), llama.cpp's format: give the folder of the original model in safetensors",
        printable(gguf));
  }
  const std::string torch = ending({".bin", ".pt", ".pth", ".ckpt"});
  if (!torch.empty()) {
    return fmt::format(
        "only PyTorch's own format ({}): load it with transformers and save it with "
        "save_pretrained, which writes safetensors",
        printable(torch));
  }
  const std::string foreign = ending({".onnx", ".h5", ".msgpack", ".tflite", ".npz", ".nemo"});
  if (!foreign.empty()) {
    return fmt::format("only {}: give the folder of the model in safetensors", printable(foreign));
  }
  const std::string other = first_with(entries, [](const std::string& name) {
    return name.ends_with(".safetensors") && !name.starts_with("model");
  });
  if (!other.empty()) {
    return fmt::format(
        "the folder has {}: mlx_lm and transformers read config.json and model*.safetensors; give "
        "the repository in transformers' layout",
        printable(other));
  }
  const std::string below = subfolder_with_config(folder, entries);
  if (!below.empty()) {
    return fmt::format("its folder {} has a config.json: give that one",
                       printable((folder / below).string()));
  }
  return std::nullopt;
}

/// The id in a link to the hub; empty if there is none.
std::string id_in_link(std::string_view text) {
  for (const std::string_view start : {"https://", "http://", "hf://"}) {
    if (lower(text).starts_with(start)) text.remove_prefix(start.size());
  }
  for (const std::string_view host : {"www.huggingface.co/", "huggingface.co/", "hf.co/"}) {
    if (!lower(text).starts_with(host)) continue;
    text.remove_prefix(host.size());
    if (text.starts_with("models/")) text.remove_prefix(7);
    const size_t first = text.find('/');
    const size_t end =
        first == std::string_view::npos ? first : text.find_first_of("/?#", first + 1);
    const std::string_view id = text.substr(0, end);
    return is_repository_id(id) ? std::string(id) : "";
  }
  return "";
}

/// An id of the cache that differs only in case.
std::string id_in_other_case(const std::string& text, const fs::path& cache) {
  for (const Entry& entry : entries_of(cache)) {
    std::string id = repository_of_cache_folder(entry.name);
    if (!id.empty() && lower(id) == lower(text)) return id;
  }
  return "";
}

}  // namespace

bool is_repository_id(std::string_view text) {
  if (text.empty() || text.front() == '/' || text.front() == '.' || text.back() == '/')
    return false;
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '_' || c == '.' || c == '/';
  });
  return plain && std::count(text.begin(), text.end(), '/') <= 1;
}

std::string repository_of_cache_folder(std::string_view name) {
  constexpr std::string_view kBegin = "models--";
  if (!name.starts_with(kBegin)) return "";
  name.remove_prefix(kBegin.size());
  const size_t at = name.find("--");
  if (at == std::string_view::npos) return std::string(name);
  return fmt::format("{}/{}", name.substr(0, at), name.substr(at + 2));
}

void fail_foreign_folder(const ModelFolder& folder, const std::string& missing) {
  const std::string where = printable(folder.path.string(), std::string::npos);
  const std::vector<Entry> entries = entries_of(folder.path);
  const auto kind = kind_of(folder.path, entries);
  if (kind && (folder.fetch.empty() || !entries.empty())) {
    fail(Code::kMissing, "no {} in {}: {}", missing, where, *kind);
  }
  fail(Code::kMissing, "no {} in {}{}", missing, where,
       folder.fetch.empty()
           ? ": give the folder of a model, with config.json and model*.safetensors"
           : folder.fetch);
}

void fail_foreign_name(const std::string& text, const fs::path& cache) {
  const std::string shown = printable(text);
  std::error_code error;
  if (fs::exists(text, error)) {
    const std::string name = lower(text);
    if (name.ends_with(".gguf") || name.ends_with(".ggml")) {
      fail(Code::kMissing,
           "{} is a GGUF file, llama.cpp's format: give the folder of the original model in "
           "safetensors",
           shown);
    }
    fail(Code::kMissing,
         "{} is a file: give the model's folder, with config.json and model*.safetensors", shown);
  }
  const std::string linked = id_in_link(text);
  if (!linked.empty()) {
    fail(Code::kMissing,
         "{} is a link to the hub, and nothing is downloaded here: give the id, {} (`hf download "
         "{}` fetches it)",
         shown, linked, linked);
  }
  if (!is_repository_id(text)) {
    fail(Code::kMissing, "no folder {}: give a model's folder, or an id as Qwen/Qwen3-8B", shown);
  }
  const std::string other = id_in_other_case(text, cache);
  if (!other.empty()) {
    fail(Code::kMissing, "no folder {0}, and no such model in the local cache: did you mean {1}?",
         shown, printable(other));
  }
  fail(Code::kMissing,
       "no folder {0}, and no such model in the local cache {1}: fetch it with `hf download {0}`",
       shown, printable(cache.string(), std::string::npos));
}

}  // namespace ram
