// Workers that wait for work: first spinning, since the next piece of a forward pass comes within
// microseconds, then sleeping.
#include <atomic>
#include <condition_variable>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "ram/error.h"
#include "ram/thread.h"

#include "cancel_flag.h"
#include "start_threads.h"

namespace ram {
namespace {

// About 20 us: longer than the gap between two products of one layer, too short to matter.
constexpr int kSpins = 4000;

// Subtracts one by adding: unsigned numbers wrap.
constexpr uint32_t kOneLess = ~uint32_t{0};

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// A counter that threads wait for. Not std::atomic::wait: in libstdc++ 12 a waiter can miss the
// change and sleep forever (GCC bugs 98033, 104928).
class Counter {
 public:
  /// Sets it while no thread waits for it.
  void reset(uint32_t value) { value_ = value; }

  void add(uint32_t change) {
    value_ += change;
    // These operations have a single total order: either this thread sees the sleeper, or the
    // sleeper sees the change before it sleeps. The lock excludes a sleeper between its check and
    // its sleep.
    if (sleepers_ == 0) return;
    { const std::lock_guard lock(mutex_); }
    changed_.notify_all();
  }

  /// Waits until the value is no longer `old`. @return the value.
  uint32_t wait_for_change(uint32_t old) {
    for (int i = 0; i < kSpins; ++i) {
      if (const uint32_t now = value_.load(std::memory_order_acquire); now != old) return now;
      relax();
    }
    std::unique_lock lock(mutex_);
    ++sleepers_;
    changed_.wait(lock, [&] { return value_ != old; });
    --sleepers_;
    return value_;
  }

 private:
  std::atomic<uint32_t> value_{0};
  std::atomic<uint32_t> sleepers_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  Counter call;     // number of the call of run; a change wakes the workers
  Counter working;  // workers that have not finished this call
  std::atomic<int64_t> next{0};
  bool stop = false;
  int64_t count = 0;
  const std::function<void(int64_t, int)>* task = nullptr;
  const std::atomic<bool>* cancelled = nullptr;  // the caller's flag
  std::mutex mutex;                              // of `first`
  std::exception_ptr first;

  void work(int worker) noexcept;
  void serve(int worker);
};

namespace {

// The task that this thread is running.
thread_local const void* current_pool = nullptr;
thread_local int current_worker = 0;

}  // namespace

void ThreadPool::State::work(int worker) noexcept {
  const void* outer_pool = current_pool;
  const int outer_worker = current_worker;
  current_pool = this;
  current_worker = worker;
  const LentCancelFlag lent(cancelled);
  try {
    for (int64_t index = next++; index < count; index = next++) (*task)(index, worker);
  } catch (...) {
    const std::lock_guard lock(mutex);
    if (!first) first = std::current_exception();
    next = count;
  }
  current_pool = outer_pool;
  current_worker = outer_worker;
}

void ThreadPool::State::serve(int worker) {
  uint32_t seen = 0;
  while (true) {
    seen = call.wait_for_change(seen);
    if (stop) return;
    work(worker);
    working.add(kOneLess);
  }
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  RAM_CHECK(threads >= 1);
  start_threads(threads - 1, state_->workers,
                [state = state_.get()](int index) { state->serve(index + 1); });
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->call.add(1);
  for (std::thread& worker : state_->workers) worker.join();
}

int ThreadPool::threads() const {
  return static_cast<int>(state_->workers.size()) + 1;
}

void ThreadPool::run(int64_t count, const std::function<void(int64_t, int)>& task) {
  State& state = *state_;
  if (current_pool == &state) {
    for (int64_t index = 0; index < count; ++index) task(index, current_worker);
    return;
  }
  state.count = count;
  state.task = &task;
  state.cancelled = cancel_flag();
  state.first = nullptr;
  state.next = 0;
  const bool alone = count <= 1 || state.workers.empty();
  if (!alone) {
    state.working.reset(static_cast<uint32_t>(state.workers.size()));
    state.call.add(1);
  }
  state.work(0);
  if (!alone) {
    for (auto left = static_cast<uint32_t>(state.workers.size()); left != 0;) {
      left = state.working.wait_for_change(left);
    }
  }
  if (state.first) std::rethrow_exception(state.first);
}

}  // namespace ram
