// Numbers as text, whatever the locale. Part of the module `base`.
#pragma once

#include <optional>
#include <string_view>

namespace ram {

/// Reads a decimal number that is all of `text`: digits with at most one point, a sign before and
/// an exponent behind where there are any ("4", "-0.5", ".5", "1.23e+01").
///
/// A point is a point in every locale, which strtod does not promise. (std::from_chars of a double
/// would do, and is missing from Apple's libc++ before LLVM 20.)
///
/// @return the double nearest to it; nothing for any other text ("", "inf", "nan", "0x10", " 1",
///         "1,5") and for what is too large for a double.
std::optional<double> parse_number(std::string_view text);

}  // namespace ram
