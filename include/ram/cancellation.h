// Requests that long work should stop.
#pragma once

#include <atomic>
#include <memory>

namespace ram {

/// A request to stop that any thread, or a signal handler, can make. Copies share the request. It
/// cannot be withdrawn: work that is started again needs a new object.
class Cancellation {
 public:
  Cancellation() : requested_(std::make_shared<std::atomic<bool>>(false)) {}

  /// Async-signal-safe.
  void request() const noexcept { requested_->store(true, std::memory_order_relaxed); }
  bool requested() const noexcept { return requested_->load(std::memory_order_relaxed); }

 private:
  friend class CancelScope;
  static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

  std::shared_ptr<std::atomic<bool>> requested_;
};

/// While it exists, `cancellation` stops this thread's work, and the work that parallel_for and
/// ThreadPool do for it on other threads. Scopes of one thread nest; the innermost counts. Without
/// one, nothing stops the work.
class CancelScope {
 public:
  explicit CancelScope(Cancellation cancellation);
  ~CancelScope();
  CancelScope(const CancelScope&) = delete;
  CancelScope& operator=(const CancelScope&) = delete;

 private:
  Cancellation cancellation_;
  const std::atomic<bool>* outer_;
};

/// @throws Error{kInterrupted} once the Cancellation of this thread's scope is requested. Long
/// loops call it per block.
void check_interrupted();

}  // namespace ram
