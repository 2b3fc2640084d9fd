// Numbers as text, whatever the locale. Part of the module `base`.
#pragma once

#include <optional>
#include <string_view>

namespace ram {

/// Whether a byte is an ASCII digit, whatever the locale.
constexpr bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/// Parses all of `text` as a decimal number: digits with at most one point, an optional sign and an
/// optional exponent ("4", "-0.5", ".5", "1.23e+01").
///
/// The decimal point is "." in every locale, unlike with strtod. (std::from_chars would do, but
/// Apple's libc++ lacks it for double before LLVM 20.)
///
/// @return the nearest double; nothing for any other text ("", "inf", "nan", "0x10", " 1", "1,5")
///         and for numbers too large for a double.
std::optional<double> parse_number(std::string_view text);

}  // namespace ram
