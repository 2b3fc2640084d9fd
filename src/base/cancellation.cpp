// The flag that stops each thread.
#include "ram/cancellation.h"

#include <utility>

#include "ram/error.h"

#include "cancel_flag.h"

namespace ram {
namespace {

thread_local const std::atomic<bool>* current_flag = nullptr;

}  // namespace

CancelScope::CancelScope(Cancellation cancellation)
    : cancellation_(std::move(cancellation)),
      outer_(std::exchange(current_flag, cancellation_.requested_.get())) {}

CancelScope::~CancelScope() {
  current_flag = outer_;
}

const std::atomic<bool>* cancel_flag() noexcept {
  return current_flag;
}

LentCancelFlag::LentCancelFlag(const std::atomic<bool>* flag) noexcept
    : outer_(std::exchange(current_flag, flag)) {}

LentCancelFlag::~LentCancelFlag() {
  current_flag = outer_;
}

void check_interrupted() {
  if (current_flag != nullptr && current_flag->load(std::memory_order_relaxed)) {
    fail(Code::kInterrupted, "interrupted");
  }
}

}  // namespace ram
