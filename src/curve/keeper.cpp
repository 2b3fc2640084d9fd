// When to commit, and which results of a changed file may be kept.
#include "keeper.h"

#include "ram/error.h"

namespace ram {
namespace {

// Limits the work that a killed run repeats, even on a fast machine.
constexpr int64_t kCommitBytes = int64_t{1} << 30;

[[noreturn]] void fail_changed(const InputFile& file) {
  fail(Code::kCorrupt,
       "{}: changed while it was being read; run again when nothing writes to it any more",
       file.path().string());
}

bool is_as_opened(const InputFile& file) {
  return file_identity(file.path()) == file.identity();
}

}  // namespace

void Keeper::add(int tensor, const std::string& hash,
                 std::vector<std::pair<CurveKey, PartCurve>> curves, int64_t bytes) {
  const SourceTensor& source = checkpoint_.tensors[static_cast<size_t>(tensor)];
  bool due = false;
  {
    const std::lock_guard lock(adding_);
    Pending& pending = pending_[source.file];
    pending.tensors.push_back({.tensor = source.info.name, .hash = hash});
    for (auto& curve : curves) pending.curves.push_back(std::move(curve));
    pending_bytes_ += bytes;
    const auto passed = std::chrono::steady_clock::now() - last_commit_;
    due = pending_bytes_ >= kCommitBytes || passed >= period_;
  }
  if (!due) return;
  const std::unique_lock lock(committing_, std::try_to_lock);
  if (lock.owns_lock()) commit_pending();
}

void Keeper::commit() {
  const std::lock_guard lock(committing_);
  commit_pending();
}

void Keeper::commit_pending() {
  std::map<int, Pending> taken;
  {
    const std::lock_guard lock(adding_);
    taken.swap(pending_);
    pending_bytes_ = 0;
    last_commit_ = std::chrono::steady_clock::now();
  }
  // All files come first: results of the others are not lost because one has changed.
  const InputFile* changed = nullptr;
  for (auto& [index, pending] : taken) {
    const InputFile& file = checkpoint_.files[static_cast<size_t>(index)];
    if (!is_as_opened(file)) {
      pending.tensors.clear();
      if (changed == nullptr) changed = &file;
    }
    try {
      CurveTable(study_).put(file.path(), file.identity(), pending.tensors, pending.curves);
    } catch (...) {
      study_failed_ = true;
      throw;
    }
  }
  if (changed != nullptr) fail_changed(*changed);
}

void Keeper::commit_on_error() noexcept {
  if (study_failed_) return;
  try {
    commit();
  } catch (const std::exception&) {
    // The error already in flight came first, and says what to do.
  }
}

void Keeper::check_files() const {
  for (const InputFile& file : checkpoint_.files) {
    if (!is_as_opened(file)) fail_changed(file);
  }
}

}  // namespace ram
