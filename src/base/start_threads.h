// Starting threads when the system may have none left.
#pragma once

#include <functional>
#include <thread>
#include <vector>

namespace ram {

/// Appends threads that run work(0), work(1), ... to `threads`: `count`, or as many as the system
/// gives, which may be none (limits on processes or memory). Does not throw if a thread cannot be
/// started.
/// @param work is copied into each thread.
/// @throws std::bad_alloc before the first thread is started.
void start_threads(int count, std::vector<std::thread>& threads,
                   const std::function<void(int index)>& work);

}  // namespace ram
