// The flag of a thread's CancelScope, for code that passes its work to other threads.
#pragma once

#include <atomic>

namespace ram {

/// The flag that stops this thread's work; null: nothing stops it.
const std::atomic<bool>* cancel_flag() noexcept;

/// While it exists, this thread works for another thread, whose flag is `flag`. The flag must
/// outlive the object.
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
