// Paths and refusals: see out_folder.h.
#include "out_folder.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <mutex>
#include <optional>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ram/build.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/mount.h"
#include "ram/plan.h"
#include "ram/text.h"

#include "file_digest.h"
#include "walk.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

fs::path without_slash(const fs::path& path) {
  return path.has_filename() ? path : path.parent_path();
}

fs::path real_path(const fs::path& path) {
  std::error_code error;
  fs::path real = fs::weakly_canonical(fs::absolute(path), error);
  if (error) fail(Code::kUsage, "cannot resolve {}: {}", path.string(), error.message());
  return without_slash(real);
}

/// The plan.json of a folder that is about to be replaced; nothing if there is none.
/// @throws Error{kUsage} it exists but cannot be read, so the folder's origin is unknown.
std::optional<Plan> plan_in(const fs::path& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder / "plan.json", error);
  const bool unknown = status.type() == fs::file_type::none;  // reading it says why
  if (!unknown && !fs::is_regular_file(status)) return std::nullopt;
  try {
    return read_plan(folder);
  } catch (const Error& unreadable) {
    fail(Code::kUsage,
         "{} contains a plan.json that cannot be read ({}): not replaced even with --force; give "
         "another name",
         folder.string(), unreadable.what());
  }
}

/// True for names that ram may write for some model; for folders of older versions, which kept no
/// list of files.
bool may_be_ours(const std::string& name) {
  static constexpr std::array<std::string_view, 4> kOwn = {
      "README.md", "config.json", "model.safetensors.index.json", "plan.json"};
  return std::find(kOwn.begin(), kOwn.end(), name) != kOwn.end() ||
         (name.starts_with("model") && name.ends_with(".safetensors")) ||
         side_file(name) == SideFile::kCarried;
}

bool is_clutter(const fs::path& name) {
  return side_file(name.generic_string()) == SideFile::kClutter;
}

/// Version history: clutter in a model's folder, but a person's work.
constexpr const char* kHistory = ".git";

bool holds_history(const fs::path& folder) {
  const fs::path history = folder / kHistory;
  const fs::file_status status = fs::symlink_status(history);
  std::error_code error;
  return fs::exists(status) && (!fs::is_directory(status) || !fs::is_empty(history, error));
}

bool holds_nothing(const fs::path& folder) {
  const fs::directory_iterator entries(folder);
  return std::all_of(begin(entries), end(entries), [](const fs::directory_entry& entry) {
    const fs::path name = entry.path().filename();
    return is_clutter(name) && name != kHistory;
  });
}

/// @return a file of the folder that ram did not write and that replacing the folder would lose;
///         empty if there is none. Clutter of operating systems does not count; a history (.git)
///         does.
std::string foreign_file(const fs::path& folder, const Plan& plan) {
  if (holds_history(folder)) return kHistory;
  const std::map<std::string, std::string>& own = plan.file_hashes;
  std::string foreign;
  visit_files(folder, [&](const std::string& name, const fs::directory_entry& entry) {
    const bool ours = fs::is_regular_file(entry.symlink_status()) &&
                      (own.empty() ? may_be_ours(name) : own.contains(name));
    if (!ours && foreign.empty()) foreign = name;
  });
  return foreign;
}

/// Without a list of files, a plan.json describes its folder only if the folder has exactly the
/// size that the plan says: `ram plan` writes such a plan anywhere, even into a source.
/// @throws Error{kUsage} it has another size.
void check_total(const fs::path& folder, const Plan& plan) {
  if (!plan.file_hashes.empty()) return;
  int64_t total = 0;
  visit_files(folder, [&](const std::string&, const fs::directory_entry& entry) {
    total += static_cast<int64_t>(entry.file_size());
  });
  if (total == plan.total_bytes) return;
  fail(Code::kUsage,
       "{} takes {} bytes, but its plan.json describes a folder of {}: ram did not write it; not "
       "replaced even with --force; give another name",
       folder.string(), total, plan.total_bytes);
}

/// @return a file of the folder, other than weights, that was edited according to plan.json: also a
///         person's work.
std::string edited_file(const fs::path& folder, const Plan& plan) {
  for (const auto& [name, digest] : plan.file_hashes) {
    std::error_code error;
    if (name.ends_with(".safetensors") || !fs::exists(folder / name, error)) continue;
    const std::vector<fs::path> path = {folder / name};
    const std::string now = name == "plan.json" ? plan_digest(plan) : file_digests(path, 1).front();
    if (now != digest) return name;
  }
  return "";
}

/// OUT is replaced by a rename, which the system may refuse.
/// @throws Error{kUsage} something is mounted there; {kWriteFailed} this user may not rename it.
void check_movable(const fs::path& out) {
  if (is_mount_point(out)) {
    fail(Code::kUsage,
         "{} is a mount point, which cannot be replaced: give the name of a new folder in it, such "
         "as {}",
         out.string(), (out / "model").string());
  }
  if (faccessat(AT_FDCWD, out.c_str(), W_OK | X_OK, AT_EACCESS) != 0) {
    fail_errno(true, "cannot replace", out.string(), errno);
  }
  // In a sticky folder such as /tmp only the owner may rename.
  struct stat own = {};
  struct stat above = {};
  const uid_t user = geteuid();
  if (user == 0 || stat(out.c_str(), &own) != 0 || stat(out.parent_path().c_str(), &above) != 0) {
    return;
  }
  if ((above.st_mode & S_ISVTX) != 0 && own.st_uid != user && above.st_uid != user) {
    fail_errno(true, "cannot replace another user's folder", out.string(), EPERM);
  }
}

/// Whether a text file is the one in the layout, which does not know plan.json's digests.
bool is_rendered(const fs::path& path, const RenderedFile& file) {
  std::string text = read_text_file(path, static_cast<int64_t>(file.text.size()));
  if (file.name == "plan.json") {
    try {
      Plan plan = parse_plan(text, file.name);
      const std::string digest = plan_digest(plan);
      if (plan.file_hashes["plan.json"] != digest) return false;
      for (auto& [name, hash] : plan.file_hashes) hash.assign(hash.size(), '0');
      text = render_plan(plan);
    } catch (const Error&) {
      return false;
    }
  }
  return text == file.text;
}

/// @return a difference in names or sizes; empty if there is none.
std::string other_files(const fs::path& out, const FolderLayout& layout) {
  std::map<std::string, int64_t> wanted;
  for (const Shard& shard : layout.shards) wanted[shard.name] = shard.bytes;
  for (const CarriedFile& file : layout.carried_files) wanted[file.name] = file.bytes;
  for (const RenderedFile& file : layout.rendered) {
    wanted[file.name] = static_cast<int64_t>(file.text.size());
  }
  std::string found;
  visit_files(out, [&](const std::string& name, const fs::directory_entry& entry) {
    if (!found.empty()) return;
    const auto one = wanted.find(name);
    if (one == wanted.end()) {
      found = "it also contains " + name;
    } else if (!entry.is_regular_file() || static_cast<int64_t>(entry.file_size()) != one->second) {
      found = name + " has another size";
    } else {
      wanted.erase(one);
    }
  });
  if (found.empty() && !wanted.empty()) found = "it has no " + wanted.begin()->first;
  return found;
}

/// @return a difference in bytes; empty if there is none. Carried files are compared with the
///         source's, which may have changed; shards with their digests in plan.json, which
///         is_rendered has checked.
/// @pre names and sizes are the layout's.
std::string other_bytes(const fs::path& out, const FolderLayout& layout, int threads,
                        const ProgressFn& progress) {
  for (const RenderedFile& file : layout.rendered) {
    if (!is_rendered(out / file.name, file)) return file.name + " differs";
  }
  for (const CarriedFile& file : layout.carried_files) {
    const std::vector<fs::path> both = {layout.source / file.name, out / file.name};
    const std::vector<std::string> digests = file_digests(both, 1);
    if (digests[0] != digests[1]) return file.name + " differs";
  }
  const Plan plan = read_plan(out);
  int64_t read = 0;
  int64_t total = 0;
  for (const Shard& shard : layout.shards) total += shard.bytes;
  std::mutex reading;
  const auto done = [&](int64_t bytes) {
    const std::lock_guard lock(reading);
    read += bytes;
    if (progress) progress({.phase = "compare", .done = read, .total = total});
  };
  for (const Shard& shard : layout.shards) {
    const std::vector<fs::path> path = {out / shard.name};
    if (file_digests(path, threads, done).front() != plan.file_hashes.at(shard.name)) {
      return shard.name + " is not what was written";
    }
  }
  return "";
}

}  // namespace

OutPaths resolve_out_folder(const fs::path& out) {
  if (out.empty()) fail(Code::kUsage, "no name for the output folder: give one with -o");
  std::error_code error;
  const fs::path given = without_slash(fs::absolute(out));
  if (fs::is_symlink(fs::symlink_status(given, error)) && !fs::exists(given, error)) {
    fail(Code::kUsage, "{} is a symbolic link to nowhere: remove it or give another name",
         out.string());
  }
  OutPaths place;
  place.out = real_path(given);
  if (!place.out.has_filename() || place.out == place.out.root_path()) {
    fail(Code::kUsage, "{} cannot be an output folder: give the name of a new one", out.string());
  }
  place.work = work_folders(place.out).partial;
  return place;
}

int64_t unfinished_bytes(const fs::path& out) {
  int64_t bytes = 0;
  std::error_code failed;
  for (fs::recursive_directory_iterator at(resolve_out_folder(out).work, failed), end;
       !failed && at != end; at.increment(failed)) {
    std::error_code none;
    if (!at->is_regular_file(none)) continue;
    const auto size = static_cast<int64_t>(at->file_size(none));
    if (!none) bytes += size;
  }
  return bytes;
}

void check_no_overlap(const Checkpoint& checkpoint, const fs::path& out) {
  const fs::path source = real_path(checkpoint.folder);
  if (lies_in(out, source)) {
    fail(Code::kUsage, "the output {} is inside the source {}: choose a folder outside it",
         out.string(), source.string());
  }
  std::vector<fs::path> places = {source};
  // In the Hugging Face cache the files are links out of the folder.
  for (const InputFile& file : checkpoint.files) places.push_back(real_path(file.path()));
  // The work folders are emptied, so a source inside them would be lost as well.
  const WorkFolders work = work_folders(out);
  for (const fs::path& taken : {out, work.partial, work.encoded}) {
    const bool around = std::any_of(places.begin(), places.end(),
                                    [&](const fs::path& place) { return lies_in(place, taken); });
    if (!around) continue;
    fail(Code::kUsage, "the source {} is inside {} {}: choose another output folder",
         source.string(), taken == out ? "the output" : "the work folder beside the output",
         taken.string());
  }
}

std::string difference(const fs::path& out, const FolderLayout& layout, int threads,
                       const ProgressFn& progress) {
  if (!fs::is_directory(out)) return "it is not a folder";
  try {
    const std::string found = other_files(out, layout);
    return found.empty() ? other_bytes(out, layout, threads, progress) : found;
  } catch (const fs::filesystem_error& error) {
    return "it cannot be read: " + error.code().message();
  }
}

void check_folder(const fs::path& out) {
  if (fs::is_directory(out)) return;
  fail(Code::kUsage, "{} exists and is not a folder: give another name", out.string());
}

void check_writable(const OutPaths& place) {
  fs::path parent = place.out.parent_path();
  while (!fs::exists(parent) && parent.has_relative_path()) parent = parent.parent_path();
  if (access(parent.c_str(), W_OK | X_OK) != 0) {
    fail_errno(true, "cannot create the output in", parent.string(), errno);
  }
  const bool apart =
      fs::exists(place.work) && (is_mount_point(place.work) ||
                                 file_identity(place.work).device != file_identity(parent).device);
  if (apart) {
    fail(Code::kWriteFailed,
         "{} is on another file system than {}, so no folder can be renamed from one to the other: "
         "remove it, or give another name",
         place.work.string(), parent.string());
  }
}

void check_replaceable(const fs::path& out, const std::string& found, bool force) {
  check_folder(out);
  const bool empty = holds_nothing(out);
  if (!force) {
    fail(Code::kUsage, "{} exists{}: give another name, or --force to replace it", out.string(),
         empty ? " (and is empty)" : fmt::format(" and is something else ({})", found));
  }
  if (!empty) {
    const std::optional<Plan> plan = plan_in(out);
    if (!plan) {
      fail(Code::kUsage,
           "{} is not a folder that ram wrote (no plan.json of its own): not replaced even with "
           "--force; give another name",
           out.string());
    }
    const std::string foreign = foreign_file(out, *plan);
    if (foreign.empty()) check_total(out, *plan);
    const std::string edited = foreign.empty() ? edited_file(out, *plan) : "";
    if (!foreign.empty() || !edited.empty()) {
      fail(Code::kUsage,
           "{} contains {}, which {}: not replaced even with --force; move it elsewhere, or give "
           "another name",
           out.string(), printable(foreign + edited),
           edited.empty() ? "ram did not write" : "was edited since ram wrote it");
    }
  }
  std::error_code error;
  const fs::path here = fs::current_path(error);
  if (!error && lies_in(here, out)) {
    fail(Code::kUsage, "{} contains the current folder: change to another folder to replace it",
         out.string());
  }
  check_movable(out);
}

}  // namespace ram
