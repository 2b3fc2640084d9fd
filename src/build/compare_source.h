// A finished folder against the model it was made from.
#pragma once

#include <algorithm>
#include <cstdint>
#include <mutex>
#include <string_view>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/progress.h"
#include "ram/study.h"

#include "folder_view.h"

namespace ram {

/// Counts bytes towards a total and reports; from several threads.
class Meter {
 public:
  Meter(std::string_view phase, int64_t total, const ProgressFn& progress)
      : phase_(phase), total_(total), progress_(&progress) {}

  void add(int64_t bytes) const {
    if (!*progress_) return;
    const std::lock_guard lock(mutex_);
    done_ = std::min(total_, done_ + bytes);
    (*progress_)({.phase = phase_, .done = done_, .total = total_});
  }

 private:
  std::string_view phase_;
  int64_t total_;
  const ProgressFn* progress_;
  mutable std::mutex mutex_;
  mutable int64_t done_ = 0;
};

/// Decodes every unit; compares its squared error with the study's curve (if there is a study) and
/// with the plan's NRMSE, and its bytes with a fresh encoding. Compares carried files and
/// config.json too.
///
/// @param units as check_tensors found them; those with a problem are left out.
/// @return the largest |measured / planned - 1| of the units' squared errors.
/// @throws Any error of reading the source.
double compare_source(const FolderView& view, std::vector<FoundUnit> units,
                      const Checkpoint& source, Study* study, int threads, const Meter& meter,
                      Problems& problems);

}  // namespace ram
