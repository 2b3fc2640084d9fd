// The conclusions from the answers to a task, in words. Part of the module `tasks`.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "ram/tasks.h"

namespace ram {

/// @return a sentence: whether the task distinguishes the models or, for a single model, whether it
///         is better than guessing; empty if there is no conclusion.
/// @param labels of the models, the reference first.
std::string task_verdict(const TaskRun& run, size_t task, const std::vector<std::string>& labels);

}  // namespace ram
