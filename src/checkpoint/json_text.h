// JSON as model folders have it: read with a bound on nesting, written with sorted keys, and with
// numbers kept as they were, also integers beyond 64 bits (held as binary values inside the tree).
#pragma once

#include <string>
#include <string_view>

#include "ram/json.h"

namespace ram {

/// Nesting that is refused; real files stay below 10.
inline constexpr int kMaxJsonDepth = 64;

/// @param file named in messages.
/// @throws Error{kCorrupt} not JSON, or nested deeper than kMaxJsonDepth.
nlohmann::json parse_json(std::string_view text, const std::string& file);

/// @return the text, indented by 4, keys sorted, one element a line, a newline at the end.
std::string render_json(const nlohmann::json& value);

}  // namespace ram
