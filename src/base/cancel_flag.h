// The flag of a thread's CancelScope, for those who hand its work to other threads.
#pragma once

#include <atomic>

namespace ram {

/// What stops this thread's work; null: nothing does.
const std::atomic<bool>* cancel_flag() noexcept;

/// While it lives, this thread works for one whose flag is `flag`, which outlives it.
class LentCancelFlag {
 public:
  explicit LentCancelFlag(const std::atomic<bool>* flag) noexcept;
  ~LentCancelFlag();
  LentCancelFlag(const LentCancelFlag&) = delete;
  LentCancelFlag& operator=(const LentCancelFlag&) = delete;

 private:
  const std::atomic<bool>* outer_;
};

}  // namespace ram
