// Makes text and names from files safe to print.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace ram {

/// @return the text as one line of well-formed UTF-8 that cannot control a terminal: U+FFFD
///         replaces each ill-formed sequence, control character (C0, DEL, C1), line or paragraph
///         separator and mark that changes the direction of writing. Printable text is returned
///         unchanged.
/// @param longest bytes; a longer text is truncated between characters and ends in "...".
std::string printable(std::string_view text, size_t longest = 120);

/// As printable for a text of several lines: keeps line ends and tabs, truncates nothing.
std::string printable_lines(std::string_view text);

/// @return the parts of a text between separators: at least one; parts can be empty.
std::vector<std::string> split(std::string_view text, char separator);

/// @return "0.12 s", "8.4 s", "3 min 20 s", "2 h 5 min".
std::string format_seconds(double seconds);

/// @return a name as one printable word of a shell's command line: quoted if necessary, with "./"
///         before one that would be an option.
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
