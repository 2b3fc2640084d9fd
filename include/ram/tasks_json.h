// Results of tasks as a JSON document: what `tasks --json` prints (docs/cli.md). Part of the module
// `tasks`.
#pragma once

#include <string>
#include <vector>

#include "ram/json.h"
#include "ram/tasks.h"

namespace ram {

/// @param labels of the models.
nlohmann::ordered_json tasks_json(const TaskRun& run, const std::vector<std::string>& labels);

/// @return one line of JSON for each question, with its prompt.
std::string prompt_lines(const std::vector<TaskData>& tasks);

}  // namespace ram
