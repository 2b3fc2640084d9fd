// Work over several threads, the user's Ctrl-C, and progress: what long work shares.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace ram {

/// @return the processors this process may run on (affinity and cgroup quota respected), at
/// least 1.
int default_threads();

/// Calls task(index, worker) for each index in [0, count), handed out in increasing order to
/// `threads` workers (worker in [0, threads)). Which worker gets which index is not defined:
/// results must not depend on it. Returns when all are done. The first exception stops the handing
/// out and is rethrown.
///
/// @param threads >= 1; 1 runs on the calling thread.
void parallel_for(int threads, int64_t count,
                  const std::function<void(int64_t index, int worker)>& task);

/// Asks all long work to stop; async-signal-safe.
void request_interrupt();

/// @throws Error{kInterrupted} once request_interrupt() has been called. Long loops call it per
/// block.
void check_interrupted();

/// How far one phase of a long work is. `phase` is one or two words ("analyze", "write").
struct Progress {
  std::string_view phase;
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;
};

/// Called from one thread at a time, often: it must be quick. May be empty.
using ProgressFn = std::function<void(const Progress&)>;

}  // namespace ram
