// One pass over the files: the blocks of many tensors are distributed to workers in the order of
// the files, and the disk is kept busy while they compute.
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
/// @param direct per file of the checkpoint, or empty: through the system's cache, with upcoming
/// blocks prefetched. With direct readers, extra workers wait for the disk beside the `threads`
/// that compute.
/// @param done   called once per job when its last block is done, by any worker, possibly by
/// several at once.
/// @param before_read  for tests: called by each worker before it reads a block.
/// @return bytes read.
/// @throws Error{kInterrupted}, and what jobs, `done` and `progress` throw.
int64_t run_pass(std::deque<TensorJob>& jobs, int threads, std::span<const DirectReader> direct,
                 std::string_view phase, const ProgressFn& progress,
                 const std::function<void(TensorJob&)>& done,
                 const std::function<void()>& before_read = {});

}  // namespace ram
