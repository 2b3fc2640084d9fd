// Permits to compute, for more workers than may compute at a time.
#pragma once

#include <condition_variable>
#include <mutex>

#include "ram/error.h"

namespace ram {

/// Limits how many workers compute at once. Not std::counting_semaphore: that of libstdc++ 12 can
/// leave a waiter asleep on a count above 0 (GCC bug 104928).
class Permits {
 public:
  /// @param count at least 1.
  explicit Permits(int count) : free_(count) { RAM_CHECK(count >= 1); }

  /// Waits until a permit is free, and takes it.
  void acquire() {
    std::unique_lock lock(mutex_);
    returned_.wait(lock, [this] { return free_ > 0; });
    --free_;
  }

  void release() {
    {
      const std::lock_guard lock(mutex_);
      ++free_;
    }
    // Wakes all, though only one can continue: pthread_cond_signal of glibc before 2.41 can lose a
    // wake-up (glibc bug 25847), pthread_cond_broadcast cannot.
    returned_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable returned_;
  int free_;
};

/// Holds a permit as long as it lives.
class Turn {
 public:
  explicit Turn(Permits& permits) : permits_(permits) { permits_.acquire(); }
  ~Turn() { permits_.release(); }
  Turn(const Turn&) = delete;
  Turn& operator=(const Turn&) = delete;

 private:
  Permits& permits_;
};

}  // namespace ram
