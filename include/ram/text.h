// Text from files and names as people may see it.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace ram {

/// @return the text as one line of well-formed UTF-8 that cannot steer a terminal: U+FFFD stands
/// for each ill-formed sequence, control character (C0, DEL, C1), line or paragraph separator and
/// mark that turns the direction of writing. Printable text comes back as it is.
/// @param longest bytes; a longer text is cut at a character and ends in "...".
std::string printable(std::string_view text, size_t longest = 120);

/// As printable for a text of several lines: ends of lines and tabs stay, nothing is cut.
std::string printable_lines(std::string_view text);

/// @return "0.12 s", "8.4 s", "3 min 20 s", "2 h 5 min".
std::string format_seconds(double seconds);

/// @return a name as one printable word of a shell's command line: in quotes where it needs them,
/// "./" before one that would be an option.
inline std::string shell_word(std::string_view name) {
  std::string word = printable(name, std::string_view::npos);
  if (word.starts_with('-')) word.insert(0, "./");
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,+@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return quoted + "'";
}

}  // namespace ram
