// Lines and texts with only white space.
#pragma once

#include <algorithm>
#include <cctype>
#include <string_view>

namespace ram {

inline bool is_blank(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](unsigned char c) { return std::isspace(c) != 0; });
}

}  // namespace ram
