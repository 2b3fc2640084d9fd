// JSON documents as text. Part of the module `base`.
#pragma once

#include <string>
#include <string_view>

#include "ram/json.h"

namespace ram {

/// @return a document in the program's output format: indented by two, ill-formed UTF-8 (in paths)
///         replaced by U+FFFD, a newline at the end.
std::string json_text(const nlohmann::ordered_json& document);

/// @return a text as a JSON string, in quotation marks; ill-formed UTF-8 is replaced by U+FFFD.
std::string json_quoted(std::string_view text);

}  // namespace ram
