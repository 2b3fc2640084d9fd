// Workers that wait for work: first spinning, since the next piece of a forward pass comes within
// microseconds, then asleep.
#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "ram/error.h"
#include "ram/thread.h"

namespace ram {
namespace {

// About 20 us: longer than the gap between two products of one layer, shorter than anyone notices.
constexpr int kSpins = 4000;

void relax() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

/// Waits until `value` is no longer `old`.
uint32_t wait_for_change(const std::atomic<uint32_t>& value, uint32_t old) {
  for (int i = 0; i < kSpins; ++i) {
    if (const uint32_t now = value.load(std::memory_order_acquire); now != old) return now;
    relax();
  }
  value.wait(old, std::memory_order_acquire);
  return value.load(std::memory_order_acquire);
}

}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::atomic<uint32_t> call{0};     // counts calls of run; a change wakes the workers
  std::atomic<uint32_t> working{0};  // workers that have not finished this call
  std::atomic<int64_t> next{0};
  bool stop = false;
  int64_t count = 0;
  const std::function<void(int64_t, int)>* task = nullptr;
  std::mutex mutex;  // of `first`
  std::exception_ptr first;

  void work(int worker) noexcept;
  void serve(int worker);
};

namespace {

// Which task this thread is in the middle of.
thread_local const void* current_pool = nullptr;
thread_local int current_worker = 0;

}  // namespace

void ThreadPool::State::work(int worker) noexcept {
  const void* outer_pool = current_pool;
  const int outer_worker = current_worker;
  current_pool = this;
  current_worker = worker;
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
    seen = wait_for_change(call, seen);
    if (stop) return;
    work(worker);
    if (working.fetch_sub(1, std::memory_order_acq_rel) == 1) working.notify_one();
  }
}

ThreadPool::ThreadPool(int threads) : state_(std::make_unique<State>()) {
  RAM_CHECK(threads >= 1);
  for (int worker = 1; worker < threads; ++worker) {
    state_->workers.emplace_back([state = state_.get(), worker] { state->serve(worker); });
  }
}

ThreadPool::~ThreadPool() {
  state_->stop = true;
  state_->call.fetch_add(1, std::memory_order_release);
  state_->call.notify_all();
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
  state.first = nullptr;
  state.next = 0;
  const bool alone = count <= 1 || state.workers.empty();
  if (!alone) {
    state.working = static_cast<uint32_t>(state.workers.size());
    state.call.fetch_add(1, std::memory_order_release);
    state.call.notify_all();
  }
  state.work(0);
  if (!alone) {
    uint32_t left = state.working.load(std::memory_order_acquire);
    while (left != 0) left = wait_for_change(state.working, left);
  }
  if (state.first) std::rethrow_exception(state.first);
}

}  // namespace ram
