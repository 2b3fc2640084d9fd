// Suggests known words for misspelt ones.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace ram {

/// @return edits (insert, delete, replace, swap of neighbours) between two words.
/// @source R. A. Wagner and M. J. Fischer, The string-to-string correction problem, JACM 21 (1974);
///         with swaps as in Damerau (1964)
size_t edit_distance(std::string_view a, std::string_view b);

/// @return the known word with the fewest edits, or one that starts with `word`; empty if none is
///         near (all would change more than a third of the letters).
std::string nearest(std::string_view word, std::span<const std::string> known);

/// @return "; did you mean X?", or nothing.
std::string did_you_mean(std::string_view word, std::span<const std::string> known);

}  // namespace ram
