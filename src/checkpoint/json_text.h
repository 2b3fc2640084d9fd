// JSON of model folders, written with sorted keys and with numbers unchanged, also integers beyond
// 64 bits (parse_json's binary values).
#pragma once

#include <string>

#include "ram/json.h"

namespace ram {

/// A model's folder is read with Python's names of non-finite numbers, as mlx_lm and transformers
/// do.
inline constexpr JsonLimits kAsPython = {.non_finite = true};

/// @param value from parse_json.
/// @return the text, indented by 4, keys sorted, one element a line, a newline at the end.
std::string render_json(const nlohmann::json& value);

}  // namespace ram
