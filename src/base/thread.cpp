// Worker threads.
#include "ram/thread.h"

#include <algorithm>
#include <atomic>
#include <exception>
#include <mutex>
#include <new>
#include <system_error>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <pthread.h>
#include <sys/resource.h>

#include "ram/error.h"

#include "cancel_flag.h"
#include "start_threads.h"

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace ram {

void start_threads(int count, std::vector<std::thread>& threads,
                   const std::function<void(int index)>& work) {
  threads.reserve(threads.size() + static_cast<size_t>(std::max(0, count)));
  try {
    for (int index = 0; index < count; ++index) threads.emplace_back(work, index);
  } catch (const std::system_error&) {
    // The threads that did start do the work.
  } catch (const std::bad_alloc&) {
  }
}

void parallel_for(int threads, int64_t count,
                  const std::function<void(int64_t index, int worker)>& task) {
  RAM_CHECK(threads >= 1);
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr first;
  const auto work = [&, flag = cancel_flag()](int worker) {
    const LentCancelFlag lent(flag);
    try {
      for (int64_t index = next++; index < count; index = next++) task(index, worker);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!first) first = std::current_exception();
      next = count;
    }
  };
  const int workers = static_cast<int>(std::min<int64_t>(threads, std::max<int64_t>(count, 1)));
  std::vector<std::thread> others;
  start_threads(workers - 1, others, [&work](int index) { work(index + 1); });
  work(0);
  for (std::thread& other : others) other.join();
  if (first) std::rethrow_exception(first);
}

void fit_threads_to_limits() {
#if defined(__GLIBC__)
  constexpr size_t kStackBytes = size_t{2} << 20;
  pthread_attr_t attributes;
  if (pthread_attr_init(&attributes) != 0) return;
  if (pthread_attr_setstacksize(&attributes, kStackBytes) == 0) {
    (void)pthread_setattr_default_np(&attributes);
  }
  pthread_attr_destroy(&attributes);
  rlimit limit = {};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    mallopt(M_ARENA_MAX, 1);
  }
#endif
}

void use_one_openmp_thread() {
  // Nothing else of OpenMP is needed, and it is present only if a library linked it: the one
  // function is looked up in whichever runtime is loaded.
  thread_local bool done = false;
  if (done) return;
  done = true;
  using SetThreads = void (*)(int);
  static const auto kSetThreads =
      reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (kSetThreads != nullptr) kSetThreads(1);
}

}  // namespace ram
