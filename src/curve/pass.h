// One pass over the files: the blocks of many tensors dealt out to workers in the order of the
// files, with the blocks to come announced to the system.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string_view>

#include "ram/thread.h"

#include "tensor_job.h"

namespace ram {

/// Runs all blocks of all jobs.
///
/// @param jobs   in the order of the files.
/// @param done   called once per job when its last block is done, from any worker, also from
///               several at a time.
/// @return bytes read.
/// @throws Error{kInterrupted}, and what jobs, `done` and `progress` throw.
int64_t run_pass(std::deque<TensorJob>& jobs, int threads, std::string_view phase,
                 const ProgressFn& progress, const std::function<void(TensorJob&)>& done);

}  // namespace ram
