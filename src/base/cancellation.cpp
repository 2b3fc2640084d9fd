// The flag that asks long work to stop.
#include "ram/cancellation.h"

#include <atomic>

#include "ram/error.h"

namespace ram {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

}  // namespace

void request_interrupt() {
  interrupted.store(true, std::memory_order_relaxed);
}

void check_interrupted() {
  if (interrupted.load(std::memory_order_relaxed)) fail(Code::kInterrupted, "interrupted");
}

}  // namespace ram
