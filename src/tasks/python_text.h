// Python's text functions as used by lm-evaluation-harness, with the same results. All text is
// well-formed UTF-8.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ram {

/// str.strip(), lstrip() and rstrip(): white space of Unicode, and the separators 0x1c to 0x1f.
std::string_view python_strip(std::string_view text);
std::string_view python_lstrip(std::string_view text);
std::string_view python_rstrip(std::string_view text);

/// str.capitalize(), character by character: differs if a character's case is several characters or
/// depends on its neighbours (German sharp s at the beginning, Greek final sigma).
std::string python_capitalize(std::string_view text);

/// len(): characters.
int64_t python_length(std::string_view text);

/// str.replace().
std::string python_replace(std::string_view text, std::string_view from, std::string_view to);

/// re.sub("\\[.*?\\]", "", text): without bracketed text on one line.
std::string without_brackets(std::string_view text);

}  // namespace ram
