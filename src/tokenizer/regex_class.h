// Sets of characters in patterns: bracket expressions, and the escapes that denote a set.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace ram {

/// A set of characters as PCRE2 text: a union of bracket items, and of expressions that match one
/// character each (for what PCRE2's brackets cannot express).
struct CharacterSet {
  std::string items;
  std::vector<std::string> others;

  void add(const CharacterSet& set);
  /// @return an expression that matches one character of the set.
  std::string text() const;
  CharacterSet complement() const;
  CharacterSet intersection(const CharacterSet& other) const;
};

/// Where a set is named: outside of brackets, in brackets, or between [: and :].
enum class Place { kOutside, kBrackets, kPosix };

/// @return the set of \d \s \w \h (or the complement for a capital letter); nothing for others.
std::optional<CharacterSet> escape_set(char letter, Place place);

/// @return the set of \p{name}; case, spaces, '_' and '-' do not matter; "^" in front negates.
/// @throws Error{kUnsupported} the name has other characters than letters and digits.
CharacterSet property_set(std::string_view name, Place place, const std::string& where);

/// "\x{...}".
std::string code_text(char32_t code);

}  // namespace ram
