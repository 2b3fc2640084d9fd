// Results of tasks as text, also for other commands.
#pragma once

#include <string>
#include <vector>

#include "ram/tasks_json.h"

namespace ram::cli {

/// @return heading, table, verdict and cost of one task.
std::string task_text(const TaskRun& run, size_t task, const std::vector<std::string>& labels);

}  // namespace ram::cli
