// JSON documents as text. Part of the module `base`.
#pragma once

#include <string>

#include "ram/json.h"

namespace ram {

/// @return a document in the program's output format: indented by two, ill-formed UTF-8 (in paths)
///         replaced by U+FFFD, a newline at the end.
std::string json_text(const nlohmann::ordered_json& document);

}  // namespace ram
