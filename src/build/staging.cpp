// The work folder: see staging.h.
#include "staging.h"

#include <system_error>
#include <utility>

#include "ram/error.h"
#include "ram/json.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxStateBytes = int64_t{16} << 20;
constexpr int kStateVersion = 1;

std::string busy_text(const fs::path& out) {
  return fmt::format("another program is writing {}: wait for it, or give another name",
                     out.string());
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directory(folder, error);
  if (error) fail_errno(true, "cannot create folder", folder.string(), error.value());
}

/// Makes the work folder and locks it.
FileLock lock_in(const fs::path& work, const std::string& busy) {
  // The program that was here before us removes the work folder last of all: try once more then.
  constexpr int kTries = 3;
  for (int i = 1;; ++i) {
    make_folder(work);
    try {
      return FileLock(work / "lock", busy);
    } catch (const Error& error) {
      if (error.code() != Code::kWriteFailed || fs::exists(work) || i == kTries) throw;
    }
  }
}

/// Removes a work folder whose lock we hold. The lock goes last but one: who waits for it may make
/// a new one at once, and then the folder is theirs and stays.
void empty_and_remove(const fs::path& work, FileLock& lock) {
  std::error_code ignored;
  std::vector<fs::path> entries;
  for (const auto& entry : fs::directory_iterator(work, ignored)) {
    if (entry.path().filename() != "lock") entries.push_back(entry.path());
  }
  for (const fs::path& entry : entries) fs::remove_all(entry, ignored);
  lock.remove_file();
  fs::remove(work, ignored);
}

}  // namespace

Staging::Staging(const OutPlace& place, std::string key)
    : out_(place.out),
      work_(place.work),
      folder_(place.work / "folder"),
      key_(std::move(key)),
      lock_(take_lock()) {
  recover();
  read_state();
  remove_unfinished();
  make_folder(folder_);
}

FileLock Staging::take_lock() {
  try {
    std::vector<fs::path> missing;
    for (fs::path parent = out_.parent_path(); !fs::exists(parent); parent = parent.parent_path()) {
      missing.insert(missing.begin(), parent);
    }
    for (const fs::path& parent : missing) {
      make_folder(parent);
      made_parents_.push_back(parent);
    }
    return lock_in(work_, busy_text(out_));
  } catch (...) {
    std::error_code ignored;
    fs::remove(work_, ignored);  // only if it is empty
    remove_made_parents();
    throw;
  }
}

void Staging::recover() {
  const fs::path replaced = work_ / "replaced";
  if (fs::exists(replaced) && !fs::exists(out_)) rename_durably(replaced, out_);
}

void Staging::read_state() {
  const fs::path path = work_ / "state.json";
  if (!fs::exists(path)) return;
  // Whatever is wrong with the state of a dead run: it is then as if there were none.
  try {
    const auto state = parse_json(read_text_file(path, kMaxStateBytes), path.string());
    if (state.at("ram_build") != kStateVersion || state.at("key") != key_) return;
    for (const auto& [name, file] : state.at("files").items()) {
      const auto bytes = file.at("bytes").get<int64_t>();
      std::error_code error;
      if (static_cast<int64_t>(fs::file_size(folder_ / name, error)) != bytes || error) continue;
      files_[name] = {.bytes = bytes, .digest = file.at("digest").get<std::string>()};
    }
  } catch (const std::exception&) {
    files_.clear();
  }
}

void Staging::remove_unfinished() {
  std::error_code ignored;
  fs::remove_all(work_ / "replaced", ignored);
  if (files_.empty()) {
    fs::remove_all(folder_, ignored);
    fs::remove(work_ / "state.json", ignored);
    return;
  }
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (!files_.contains(entry.path().filename().string())) others.push_back(entry.path());
  }
  for (const fs::path& other : others) fs::remove_all(other, ignored);
}

std::optional<std::string> Staging::finished(const std::string& name) const {
  const auto found = files_.find(name);
  if (found == files_.end()) return std::nullopt;
  return found->second.digest;
}

int64_t Staging::finished_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, file] : files_) bytes += file.bytes;
  return bytes;
}

void Staging::mark_finished(const std::string& name, int64_t bytes, const std::string& digest) {
  files_[name] = {.bytes = bytes, .digest = digest};
  nlohmann::json files = nlohmann::json::object();
  for (const auto& [known, file] : files_) {
    files[known] = {{"bytes", file.bytes}, {"digest", file.digest}};
  }
  const nlohmann::json state = {
      {"ram_build", kStateVersion}, {"key", key_}, {"files", std::move(files)}};
  sync_folder(folder_);  // the file's name must be as durable as its content
  write_file_atomic(work_ / "state.json", state.dump(2) + "\n");
}

void Staging::publish() {
  sync_folder(folder_);
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    if (entry.is_directory()) sync_folder(entry.path());
  }
  if (!fs::exists(out_)) {
    rename_durably(folder_, out_);
  } else if (!exchange_durably(folder_, out_)) {
    // Two steps: a kill between them leaves the former OUT to recover().
    rename_durably(out_, work_ / "replaced");
    rename_durably(folder_, out_);
  }
  empty_and_remove(work_, lock_);
}

void Staging::discard() {
  empty_and_remove(work_, lock_);
  remove_made_parents();
}

void Staging::remove_made_parents() {
  std::error_code ignored;
  for (auto parent = made_parents_.rbegin(); parent != made_parents_.rend(); ++parent) {
    fs::remove(*parent, ignored);  // only if it is empty
  }
}

void remove_leftovers(const OutPlace& place) {
  std::error_code ignored;
  if (!fs::exists(place.work, ignored)) return;
  try {
    FileLock lock(place.work / "lock", "");
    empty_and_remove(place.work, lock);
  } catch (const Error&) {
    // Somebody is at work there, or it is not ours to remove: what was asked for is done.
  }
}

}  // namespace ram
