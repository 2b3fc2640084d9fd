// Worker threads, the interrupt flag, and how many processors there are for us.
#include "ram/thread.h"

#include <algorithm>
#include <atomic>
#include <csignal>
#include <exception>
#include <fstream>
#include <limits>
#include <mutex>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include <dlfcn.h>
#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/number.h"

#include "start_threads.h"

#if defined(__linux__)
#include <sched.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace ram {
namespace {

std::atomic<bool> interrupted{false};
static_assert(std::atomic<bool>::is_always_lock_free, "set from a signal handler");

#if defined(__linux__)
// A container's share of processors: cgroup v2's cpu.max holds "quota period", or "max period".
int cgroup_processors() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  std::string period;
  if (!(file >> quota >> period)) return 0;
  const double share = parse_number(quota).value_or(0) / parse_number(period).value_or(0);
  return share > 0 && share < 1e6 ? std::max(1, static_cast<int>(share)) : 0;
}
#endif

}  // namespace

int default_threads() {
  int processors = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) processors = CPU_COUNT(&set);
  if (const int share = cgroup_processors(); share > 0) processors = std::min(processors, share);
#endif
  return std::max(1, processors);
}

int64_t memory_limit_bytes() {
  int64_t bytes = std::numeric_limits<int64_t>::max();
  rlimit limit = {};
  if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
    bytes = static_cast<int64_t>(std::min<rlim_t>(limit.rlim_cur, static_cast<rlim_t>(bytes)));
  }
#if defined(__linux__)
  // cgroup v2: a number, or "max".
  std::ifstream file("/sys/fs/cgroup/memory.max");
  int64_t share = 0;
  if (file >> share && share > 0) bytes = std::min(bytes, share);
#endif
  return bytes;
}

int64_t memory_bytes() {
  return std::min(int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE), memory_limit_bytes());
}

void start_threads(int count, std::vector<std::thread>& threads,
                   const std::function<void(int index)>& work) {
  threads.reserve(threads.size() + static_cast<size_t>(std::max(0, count)));
  try {
    for (int index = 0; index < count; ++index) threads.emplace_back(work, index);
  } catch (const std::system_error&) {
    // Those that could be had do the work.
  } catch (const std::bad_alloc&) {
  }
}

void parallel_for(int threads, int64_t count,
                  const std::function<void(int64_t index, int worker)>& task) {
  RAM_CHECK(threads >= 1);
  std::atomic<int64_t> next{0};
  std::mutex mutex;
  std::exception_ptr first;
  const auto work = [&](int worker) {
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
  // We need nothing else of OpenMP, which is there only if a library brought it: its one function
  // is taken from whichever runtime came along.
  thread_local bool done = false;
  if (done) return;
  done = true;
  using SetThreads = void (*)(int);
  static const auto kSetThreads =
      reinterpret_cast<SetThreads>(dlsym(RTLD_DEFAULT, "omp_set_num_threads"));
  if (kSetThreads != nullptr) kSetThreads(1);
}

void request_interrupt() {
  interrupted.store(true, std::memory_order_relaxed);
}

void check_interrupted() {
  if (interrupted.load(std::memory_order_relaxed)) fail(Code::kInterrupted, "interrupted");
}

}  // namespace ram
