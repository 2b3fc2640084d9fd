// One pass over the files: the blocks of many tensors dealt out to workers in the order of the
// files, with the disk kept busy while they compute.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <span>
#include <string_view>

#include "ram/progress.h"

#include "tensor_job.h"

namespace ram {

/// Runs all blocks of all jobs.
///
/// @param jobs   in the order of the files.
/// @param direct per file of the checkpoint, or empty: through the system's cache, with the blocks
///               to come announced to the system. Else workers that wait for the disk do so beside
///               the `threads` that compute.
/// @param done   called once per job when its last block is done, from any worker, also from
///               several at a time.
/// @param before_read  for tests: called by each worker before it reads a block.
/// @return bytes read.
/// @throws Error{kInterrupted}, and what jobs, `done` and `progress` throw.
int64_t run_pass(std::deque<TensorJob>& jobs, int threads, std::span<const DirectReader> direct,
                 std::string_view phase, const ProgressFn& progress,
                 const std::function<void(TensorJob&)>& done,
                 const std::function<void()>& before_read = {});

}  // namespace ram
