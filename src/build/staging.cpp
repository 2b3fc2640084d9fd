// The work folder: see staging.h.
#include "staging.h"

#include <system_error>
#include <utility>

#include "ram/error.h"
#include "ram/json.h"
#include "ram/json_tree.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxStateBytes = int64_t{16} << 20;
constexpr int kStateVersion = 1;

std::string busy_text(const fs::path& out) {
  return fmt::format("another program is writing {}: wait for it, or give another name",
                     out.string());
}

/// Makes the work folder and locks it.
FileLock lock_in(const fs::path& work, const std::string& busy) {
  // The previous program removes the work folder as its last step: then try again.
  constexpr int kAttempts = 3;
  for (int i = 1;; ++i) {
    make_folder(work);
    try {
      return FileLock(work / "lock", busy);
    } catch (const Error& error) {
      if (error.code() != Code::kWriteFailed || fs::exists(work) || i == kAttempts) throw;
    }
  }
}

/// Removes the former OUT. It is renamed first, so that a partly removed folder never becomes OUT
/// again.
void remove_replaced(const fs::path& work) {
  std::error_code error;
  if (fs::exists(work / "replaced", error)) {
    try {
      rename_durably(work / "replaced", work / "obsolete");
    } catch (const Error&) {
      return;  // the next run tries again
    }
  }
  remove_tree(work / "obsolete");
}

/// Removes a work folder whose lock we hold. The lock is removed second to last: a waiting program
/// may make a new lock at once; the folder is then that program's and is kept.
void empty_and_remove(const fs::path& work, FileLock& lock) {
  std::error_code ignored;
  std::vector<fs::path> entries;
  remove_replaced(work);
  for (const auto& entry : fs::directory_iterator(work, ignored)) {
    const bool kept =
        entry.path().filename() == "replaced" || FileLock::is_file_of(work / "lock", entry.path());
    if (!kept) entries.push_back(entry.path());
  }
  for (const fs::path& entry : entries) remove_tree(entry);
  lock.remove_file();
  fs::remove(work, ignored);  // only if it is empty
}

}  // namespace

Staging::Staging(const OutPaths& place, std::string key)
    : out_(place.out),
      work_(place.work),
      folder_(place.work / "folder"),
      key_(std::move(key)),
      lock_(take_lock()) {
  // If these two fail, it is unknown which files are finished, and all of them are kept.
  recover();
  read_state();
  try {
    remove_unfinished();
    make_folder(folder_);
  } catch (...) {
    if (files_.empty()) discard();
    throw;
  }
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
  // A damaged state file is ignored. One that cannot be read (too many files are open, no memory)
  // may describe hours of work.
  try {
    const JsonTree tree(parse_json(read_text_file(path, kMaxStateBytes), path.string()));
    const nlohmann::json& state = *tree;
    if (state.at("ram_build") != kStateVersion || state.at("key") != key_) return;
    for (const auto& [name, file] : state.at("files").items()) {
      // Such a name is a path to another folder, or the system would truncate it.
      if (fs::path(name).filename() != name || name.find('\0') != std::string::npos) continue;
      const auto bytes = file.at("bytes").get<int64_t>();
      std::error_code error;
      if (static_cast<int64_t>(fs::file_size(folder_ / name, error)) != bytes || error) continue;
      files_[name] = {.bytes = bytes, .digest = file.at("digest").get<std::string>()};
    }
  } catch (const nlohmann::json::exception&) {
    files_.clear();
  } catch (const Error& error) {
    if (error.code() != Code::kCorrupt) throw;
    files_.clear();
  }
}

void Staging::remove_unfinished() {
  if (fs::exists(out_)) remove_replaced(work_);
  if (files_.empty()) {
    remove_tree(work_ / "state.json");
    remove_tree(folder_);
    return;
  }
  std::vector<fs::path> others;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    if (!files_.contains(entry.path().filename().string())) others.push_back(entry.path());
  }
  for (const fs::path& other : others) remove_tree(other);
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
  sync_folder(folder_);  // the file's name must be as durable as its content
  write_state();
}

void Staging::forget(const std::string& name) {
  files_.erase(name);
  write_state();
}

void Staging::write_state() const {
  nlohmann::json files = nlohmann::json::object();
  for (const auto& [known, file] : files_) {
    files[known] = {{"bytes", file.bytes}, {"digest", file.digest}};
  }
  const nlohmann::json state = {
      {"ram_build", kStateVersion}, {"key", key_}, {"files", std::move(files)}};
  write_file_atomic(work_ / "state.json", state.dump(2) + "\n");
}

void Staging::publish() {
  sync_folder(folder_);
  for (const auto& entry : fs::recursive_directory_iterator(folder_)) {
    if (entry.is_directory()) sync_folder(entry.path());
  }
  const uint64_t finished = file_identity(folder_).inode;
  try {
    // After an exchange the work folder contains the former OUT. state.json goes first: it would
    // call that folder finished.
    remove_tree(work_ / "state.json");
    if (fs::exists(work_ / "state.json")) {
      fail(Code::kWriteFailed, "cannot remove {}", (work_ / "state.json").string());
    }
    sync_folder(work_);
    exchange();
  } catch (const Error&) {
    restore_state(finished);
    throw;
  }
  files_.clear();
  empty_and_remove(work_, lock_);
}

void Staging::restore_state(uint64_t inode) {
  std::error_code error;
  if (!fs::exists(folder_, error) || file_identity(folder_).inode != inode) {
    files_.clear();  // it is OUT now
    return;
  }
  try {
    write_state();
  } catch (const Error&) {
    // The next run then starts from the beginning; the first error is the one to report.
  }
}

void Staging::exchange() {
  if (!fs::exists(out_)) return rename_durably(folder_, out_);
  if (exchange_durably(folder_, out_)) return;
  // Two steps: a kill between them leaves the former OUT to recover().
  rename_durably(out_, work_ / "replaced");
  try {
    rename_durably(folder_, out_);
  } catch (const Error&) {
    recover();
    throw;
  }
}

void Staging::keep() {
  try {
    remove_unfinished();
  } catch (const std::exception&) {
    // The next run removes the rest.
  }
}

void Staging::discard() {
  std::error_code error;
  if (fs::exists(work_ / "replaced", error) && !fs::exists(out_, error)) return;  // for recover()
  empty_and_remove(work_, lock_);
  remove_made_parents();
}

void Staging::remove_made_parents() {
  std::error_code ignored;
  for (auto parent = made_parents_.rbegin(); parent != made_parents_.rend(); ++parent) {
    fs::remove(*parent, ignored);  // only if it is empty
  }
}

void remove_leftovers(const OutPaths& place) {
  std::error_code ignored;
  if (!fs::exists(place.work, ignored)) return;
  try {
    FileLock lock(place.work / "lock", "");
    empty_and_remove(place.work, lock);
  } catch (const Error&) {
    // Another program is working there, or we may not remove it: the requested work is done.
  }
}

}  // namespace ram
