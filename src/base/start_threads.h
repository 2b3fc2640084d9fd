// Starting threads where the system may have none left.
#pragma once

#include <functional>
#include <thread>
#include <vector>

namespace ram {

/// Appends threads that run work(0), work(1), ... to `threads`: `count`, or as many as the system
/// gives, which may be none (a limit of processes or of memory). Never throws for want of a thread.
/// @param work is copied into each thread.
/// @throws std::bad_alloc before the first thread is started.
void start_threads(int count, std::vector<std::thread>& threads,
                   const std::function<void(int index)>& work);

}  // namespace ram
