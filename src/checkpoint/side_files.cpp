// One table of file names, and the walk over a folder that uses it.
#include "side_files.h"

#include <algorithm>
#include <array>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/text.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

struct Row {
  std::string_view pattern;  ///< one '*' stands for any text without '/'
  SideFile what;
};

// Clutter is compared with each part of a path, so a folder's name covers its contents; all other
// patterns with the whole path. The first matching row applies.
//
// @source mlx_lm 0.32.2, utils.py, `_download` and `save`; transformers 5.24, the files of
// PreTrainedTokenizerBase.save_pretrained; huggingface_hub 2.4, ModelCard and `hf download
// --local-dir` (.cache)
constexpr std::array kRows = {
    // Leftovers of file systems, editors and transfers.
    Row{".DS_Store", SideFile::kClutter},
    Row{"._*", SideFile::kClutter},  // AppleDouble: macOS on exFAT and SMB
    Row{"__MACOSX", SideFile::kClutter},
    Row{".Spotlight-V100", SideFile::kClutter},
    Row{".fseventsd", SideFile::kClutter},
    Row{".Trashes", SideFile::kClutter},
    Row{".TemporaryItems", SideFile::kClutter},
    Row{"Thumbs.db", SideFile::kClutter},
    Row{"desktop.ini", SideFile::kClutter},
    Row{".directory", SideFile::kClutter},
    Row{".nfs*", SideFile::kClutter},
    Row{".git", SideFile::kClutter},
    Row{".gitattributes", SideFile::kClutter},
    Row{".gitignore", SideFile::kClutter},
    Row{".gitkeep", SideFile::kClutter},
    Row{".cache", SideFile::kClutter},
    Row{".huggingface", SideFile::kClutter},
    Row{".ipynb_checkpoints", SideFile::kClutter},
    Row{"__pycache__", SideFile::kClutter},
    // None of these programs needs hidden files.
    Row{".*", SideFile::kOther},
    // The tokenizer.
    Row{"tokenizer.json", SideFile::kCarried},
    Row{"tokenizer_config.json", SideFile::kCarried},
    Row{"special_tokens_map.json", SideFile::kCarried},
    Row{"added_tokens.json", SideFile::kCarried},
    Row{"vocab.json", SideFile::kCarried},
    Row{"vocab.txt", SideFile::kCarried},
    Row{"merges.txt", SideFile::kCarried},
    Row{"tokenizer.model", SideFile::kCarried},
    Row{"tokenizer.model.*", SideFile::kCarried},
    Row{"spiece.model", SideFile::kCarried},
    Row{"sentencepiece.bpe.model", SideFile::kCarried},
    Row{"*.tiktoken", SideFile::kCarried},
    Row{"tiktoken.model", SideFile::kCarried},
    // Chat templates.
    Row{"*.jinja", SideFile::kCarried},
    Row{"chat_template.json", SideFile::kCarried},
    Row{"additional_chat_templates/*.jinja", SideFile::kCarried},
    // Settings and code.
    Row{"generation_config.json", SideFile::kCarried},
    Row{"*processor_config.json", SideFile::kCarried},
    Row{"*.py", SideFile::kCarried},
    // The terms of distribution.
    Row{"LICENSE*", SideFile::kCarried},
    Row{"LICENCE*", SideFile::kCarried},
    Row{"NOTICE*", SideFile::kCarried},
    Row{"USE_POLICY*", SideFile::kCarried},
};

bool fits(std::string_view pattern, std::string_view name) {
  const size_t star = pattern.find('*');
  if (star == std::string_view::npos) return name == pattern;
  const std::string_view before = pattern.substr(0, star);
  const std::string_view after = pattern.substr(star + 1);
  if (name.size() < before.size() + after.size()) return false;
  if (!name.starts_with(before) || !name.ends_with(after)) return false;
  name.remove_prefix(before.size());
  name.remove_suffix(after.size());
  return name.find('/') == std::string_view::npos;
}

bool any_part_fits(std::string_view pattern, std::string_view name) {
  while (true) {
    const size_t slash = name.find('/');
    if (fits(pattern, name.substr(0, slash))) return true;
    if (slash == std::string_view::npos) return false;
    name.remove_prefix(slash + 1);
  }
}

/// .../models--ORG--NAME/blobs/..., where the Hugging Face cache keeps the targets of its
/// snapshots' links.
bool is_cache_blob(const fs::path& real) {
  const fs::path blobs = real.parent_path();
  return blobs.filename() == "blobs" &&
         blobs.parent_path().filename().string().starts_with("models--");
}

/// The names in a folder and in its subfolder of chat templates; dangling links too.
std::vector<std::string> names_in(const fs::path& folder, std::vector<std::string>& notes) {
  std::vector<std::string> names;
  for (const char* below : {"", "additional_chat_templates"}) {
    std::error_code error;
    std::error_code ignored;
    fs::directory_iterator entries(folder / below, error);
    if (error && *below == '\0') {
      fail(Code::kMissing, "cannot read folder {}: {}", folder.string(), error.message());
    }
    if (error && fs::exists(fs::symlink_status(folder / below, ignored))) {
      notes.push_back(
          fmt::format("OUT gets none of {}: it cannot be read: {}", below, error.message()));
    }
    for (; !error && entries != fs::directory_iterator(); entries.increment(error)) {
      if (entries->is_directory(ignored)) continue;
      names.push_back((fs::path(below) / entries->path().filename()).generic_string());
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

SideFile side_file(std::string_view name) {
  for (const auto& [pattern, what] : kRows) {
    if (what == SideFile::kClutter ? any_part_fits(pattern, name) : fits(pattern, name)) {
      return what;
    }
  }
  return SideFile::kOther;
}

fs::path linked_out(const fs::path& folder, const std::string& name) {
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  const fs::path real = fs::canonical(folder / name, error);
  return error || lies_in(real, root) || is_cache_blob(real) ? fs::path() : real;
}

SideFiles find_side_files(const fs::path& folder, const std::string& fetch) {
  SideFiles files;
  for (const std::string& name : names_in(folder, files.notes)) {
    std::error_code error;
    std::error_code ignored;
    if (side_file(name) != SideFile::kCarried) continue;
    const fs::path path = folder / name;
    const fs::path real = fs::canonical(path, error);
    if (error && !fs::is_symlink(fs::symlink_status(path, ignored))) {
      files.notes.push_back(
          fmt::format("OUT gets no {}: it cannot be read: {}", printable(name), error.message()));
      continue;
    }
    if (error) {
      files.notes.push_back(
          fmt::format("{} is a dangling link, so OUT gets no such file{}", printable(name), fetch));
      continue;
    }
    if (!fs::is_regular_file(real, error)) {
      files.notes.push_back(
          fmt::format("OUT gets no {}: it is not a regular file", printable(name)));
      continue;
    }
    if (name != printable(name, std::string::npos)) {
      files.notes.push_back(
          fmt::format("the name {} is not printable, so OUT gets no such file", printable(name)));
      continue;
    }
    if (!linked_out(folder, name).empty()) {
      files.notes.push_back(fmt::format(
          "{} is a link out of the model's folder (to {}), so OUT gets no such file: put a copy in "
          "its place if it belongs to the model",
          printable(name), printable(real.string())));
      continue;
    }
    try {
      files.carried.push_back({name, InputFile(path).size()});
    } catch (const Error& unreadable) {
      files.notes.push_back(fmt::format("OUT gets no {}: {}", name, unreadable.what()));
    }
  }
  return files;
}

}  // namespace ram
