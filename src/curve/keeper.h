// Collects the workers' results and writes them to the study every few seconds, so that a killed
// run loses little and workers do not wait for the disk.
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
  /// @param period_s seconds between commits.
  Keeper(const Checkpoint& checkpoint, Study& study, double period_s)
      : checkpoint_(checkpoint), study_(study), period_(period_s) {}

  /// Takes a tensor's hash and its measurements. Safe to call from several threads; the thread
  /// whose call makes a commit due does it, while the others go on.
  /// @param bytes how many were read for it.
  /// @throws what commit throws.
  void add(int tensor, const std::string& hash, std::vector<std::pair<CurveKey, PartCurve>> curves,
           int64_t bytes);

  /// Writes everything added so far to the study. Hashes of a file that has changed since it was
  /// opened are dropped: they would name content that no file has. Curves are kept, since they name
  /// content, and so is everything that belongs to other files.
  /// @throws Error{kCorrupt} a file has changed since it was opened; and what CurveTable::put
  /// throws.
  void commit();

  /// commit during the handling of another error: never throws, and does not try the study again if
  /// the study failed.
  void commit_on_error() noexcept;

  /// @throws Error{kCorrupt} a file differs from when it was opened, whether or not it was read.
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
