// Paths and refusals: see place.h.
#include "place.h"

#include <algorithm>
#include <cerrno>
#include <map>
#include <system_error>

#include <fmt/format.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/file.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

fs::path without_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

/// Both absolute, links resolved. A folder lies in itself.
bool lies_in(const fs::path& inner, const fs::path& outer) {
  const auto [end, ignored] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return end == outer.end();
}

fs::path real_path(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::weakly_canonical(fs::absolute(path), error);
  if (error) fail(Code::kUsage, "cannot resolve {}: {}", path.string(), error.message());
  return without_slash(real);
}

bool is_model_folder(const fs::path& folder) {
  if (!fs::is_regular_file(folder / "config.json")) return false;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") return true;
  }
  return fs::exists(folder / "model.safetensors.index.json");
}

}  // namespace

OutPlace resolve_out(const fs::path& out) {
  if (out.empty()) fail(Code::kUsage, "no name for the output folder: give one with -o");
  std::error_code error;
  const fs::path given = without_slash(fs::absolute(out));
  if (fs::is_symlink(fs::symlink_status(given, error)) && !fs::exists(given, error)) {
    fail(Code::kUsage, "{} is a symbolic link to nowhere: remove it or give another name",
         out.string());
  }
  OutPlace place;
  place.out = real_path(given);
  if (!place.out.has_filename() || place.out == place.out.root_path()) {
    fail(Code::kUsage, "{} cannot be an output folder: give the name of a new one", out.string());
  }
  place.work =
      place.out.parent_path() / fmt::format(".{}.ram-partial", place.out.filename().string());
  return place;
}

void check_apart(const Checkpoint& checkpoint, const fs::path& out) {
  const fs::path source = real_path(checkpoint.folder);
  if (lies_in(out, source)) {
    fail(Code::kUsage, "the output {} is inside the source {}: choose a folder outside it",
         out.string(), source.string());
  }
  bool around = lies_in(source, out);
  // In the Hugging Face cache the files are links out of the folder.
  for (const InputFile& file : checkpoint.files) {
    around = around || lies_in(real_path(file.path()), out);
  }
  if (around) {
    fail(Code::kUsage, "the source {} is inside the output {}: choose another output folder",
         source.string(), out.string());
  }
}

std::string difference(const fs::path& out, const FolderLayout& layout) {
  if (!fs::is_directory(out)) return "it is not a folder";
  std::map<std::string, int64_t> wanted;
  for (const Shard& shard : layout.shards) wanted[shard.name] = shard.bytes;
  for (const CarriedFile& file : layout.carried_files) wanted[file.name] = file.bytes;
  for (const RenderedFile& file : layout.rendered) {
    wanted[file.name] = static_cast<int64_t>(file.text.size());
  }
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(out, error)) {
    if (entry.is_directory(error)) continue;
    const std::string name = entry.path().lexically_relative(out).generic_string();
    const auto found = wanted.find(name);
    if (found == wanted.end()) return "it also holds " + name;
    if (!entry.is_regular_file(error) ||
        static_cast<int64_t>(entry.file_size(error)) != found->second) {
      return name + " has another size";
    }
    wanted.erase(found);
  }
  if (error) return "it cannot be read: " + error.message();
  if (!wanted.empty()) return "it has no " + wanted.begin()->first;
  for (const RenderedFile& file : layout.rendered) {
    const auto size = static_cast<int64_t>(file.text.size());
    if (read_text_file(out / file.name, size) != file.text) return file.name + " differs";
  }
  return "";
}

void check_folder(const fs::path& out) {
  if (fs::is_directory(out)) return;
  fail(Code::kUsage, "{} exists and is not a folder: give another name", out.string());
}

void check_writable(const OutPlace& place) {
  fs::path parent = place.out.parent_path();
  while (!fs::exists(parent) && parent.has_relative_path()) parent = parent.parent_path();
  if (access(parent.c_str(), W_OK | X_OK) != 0) {
    fail_errno(true, "cannot create the output in", parent.string(), errno);
  }
}

void check_replaceable(const fs::path& out, const std::string& found, bool force) {
  check_folder(out);
  const bool empty = fs::is_empty(out);
  if (!force) {
    fail(Code::kUsage, "{} exists{}: give another name, or --force to replace it", out.string(),
         empty ? " (and is empty)" : fmt::format(" and is something else ({})", found));
  }
  if (!empty && !is_model_folder(out)) {
    fail(Code::kUsage,
         "{} is not a model folder (no config.json with safetensors): not replaced even with "
         "--force; give another name",
         out.string());
  }
  std::error_code error;
  const fs::path here = fs::current_path(error);
  if (!error && lies_in(here, out)) {
    fail(Code::kUsage, "{} holds the current folder: go elsewhere to replace it", out.string());
  }
}

}  // namespace ram
