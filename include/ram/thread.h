// Work over several threads.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>

namespace ram {

/// Calls task(index, worker) for each index in [0, count), handed out in increasing order to
/// `threads` workers (worker in [0, threads)). Which worker gets which index is not defined:
/// results must not depend on it. Returns when all are done. The first exception stops the handing
/// out and is rethrown.
///
/// Where the system gives fewer threads, those do the work: the calling thread is always one.
///
/// @param threads >= 1; 1 runs on the calling thread.
void parallel_for(int threads, int64_t count,
                  const std::function<void(int64_t index, int worker)>& task);

/// Workers that stay, for work cut so finely that starting threads would show: a call costs some
/// microseconds, against some tens each thread of parallel_for.
class ThreadPool {
 public:
  /// Starts threads - 1 workers, or as many as the system gives; the thread that calls run is
  /// worker 0. @param threads >= 1.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int threads() const;  ///< workers that there are, with worker 0

  /// As parallel_for, on the workers of this pool; one call at a time. A call from inside a task
  /// runs on the thread that makes it, under its worker's number.
  void run(int64_t count, const std::function<void(int64_t index, int worker)>& task);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// From now on threads start with stacks of two MiB, whatever `ulimit -s` says: a large limit would
/// reserve as much address space for each, a small one would end the program in the middle of a
/// deep call. Where the address space is limited, threads share one heap: each would reserve 64
/// MiB. To be called before threads start; does nothing where the C library has no such settings.
void fit_threads_to_limits();

/// Libraries that split their work by OpenMP use the calling thread alone, from now on, when they
/// are called from it. Call it on every thread that you create yourself. Cheap to call again.
void use_one_openmp_thread();

}  // namespace ram
