// What tasks found, as text and JSON, for other commands too.
#pragma once

#include <string>
#include <vector>

#include "ram/tasks.h"

#include "model.h"

namespace ram::cli {

/// @param labels of the models. @return `ram tasks --json`'s document.
Json tasks_json(const TaskRun& run, const std::vector<std::string>& labels);

/// @return heading, table, verdict and cost of one task.
std::string task_text(const TaskRun& run, size_t task, const std::vector<std::string>& labels);

}  // namespace ram::cli
