// What may be said of the answers to a task, in words. Part of the module `tasks`.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "ram/tasks.h"

namespace ram {

/// @return whether the task tells the models apart, in a sentence; of one model alone, whether it
///         answers better than by guessing; empty where nothing is to be said.
/// @param labels of the models, the reference first.
std::string task_verdict(const TaskRun& run, size_t task, const std::vector<std::string>& labels);

}  // namespace ram
