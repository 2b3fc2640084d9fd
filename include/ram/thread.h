// Work on several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace ram {

/// Calls task(index, worker) for each index in [0, count), handed out in increasing order to
/// `threads` workers (worker in [0, threads)). Which worker gets which index is unspecified:
/// results must not depend on it. Returns when all are done. After the first exception no more
/// indices are handed out, and it is rethrown.
///
/// If the system gives fewer threads, those do the work; the calling thread is always one of them.
///
/// @param threads >= 1; 1 runs on the calling thread.
void parallel_for(int threads, int64_t count,
                  const std::function<void(int64_t index, int worker)>& task);

/// Persistent workers, for work so fine-grained that starting threads would cost too much: a call
/// costs a few microseconds, against tens of microseconds per thread in parallel_for.
class ThreadPool {
 public:
  /// Starts threads - 1 workers, or as many as the system gives; the thread that calls run is
  /// worker 0. @param threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;  ///< actual number of workers, worker 0 included

  /// As parallel_for, on the workers of this pool; one call at a time. A call from inside a task
  /// runs on the calling thread, with its worker number.
  void run(int64_t count, const std::function<void(int64_t index, int worker)>& task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// From now on threads start with stacks of two MiB, whatever `ulimit -s` says: a large limit would
/// reserve that much address space for each, a small one would crash the program in a deep call. If
/// the address space is limited, threads also share one heap, since separate ones reserve 64 MiB
/// each. To be called before threads start; does nothing if the C library has no such settings.
void fit_threads_to_limits();

/// From now on, libraries that use OpenMP run on the calling thread alone when called from it. Call
/// this on every thread that you create yourself. Cheap to call again.
void use_one_openmp_thread();

}  // namespace ram
