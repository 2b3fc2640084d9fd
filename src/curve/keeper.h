// Takes what the workers finish and puts it into the study every few seconds, so that a killed run
// loses little and workers do not wait for the disk.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/curve_table.h"

namespace ram {

class Keeper {
 public:
  /// @param period_s between commits.
  Keeper(const Checkpoint& checkpoint, Study& study, double period_s)
      : checkpoint_(checkpoint), study_(study), period_(period_s) {}

  /// Takes a tensor's hash and what was measured of it. Safe to call from several threads; the one
  /// whose call makes a commit due does it, while the others go on.
  /// @param bytes that it took to read.
  /// @throws what commit throws.
  void add(int tensor, const std::string& hash, std::vector<std::pair<CurveKey, PartCurve>> curves,
           int64_t bytes);

  /// Puts all that was added into the study. Hashes of a file that has changed since it was opened
  /// are dropped: they would name content that no file has. Curves are kept, they name content, and
  /// so is all that belongs to other files.
  /// @throws Error{kCorrupt} a file has changed since it was opened; and what CurveTable::put
  /// throws.
  void commit();

  /// commit for when another error is on its way: never throws, and does not try the study again
  /// where it was the study that failed.
  void commit_on_error() noexcept;

  /// @throws Error{kCorrupt} a file is not what it was when opened, whether or not it was read.
  void check_files() const;

 private:
  struct Pending {
    std::vector<TensorRecord> tensors;
    std::vector<std::pair<CurveKey, PartCurve>> curves;
  };

  void commit_pending();

  const Checkpoint& checkpoint_;
  Study& study_;
  const std::chrono::duration<double> period_;
  std::mutex adding_;
  std::map<int, Pending> pending_;  // by file
  int64_t pending_bytes_ = 0;
  std::chrono::steady_clock::time_point last_commit_ = std::chrono::steady_clock::now();
  std::mutex committing_;  // taken before adding_
  std::atomic<bool> study_failed_{false};
};

}  // namespace ram
