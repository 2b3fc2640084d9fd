// The patterns of tokenizer.json are in Oniguruma's dialect (Ruby's); PCRE2 runs them. This
// translates between them: classes that nest and intersect, \h, \w, \s, (?m), quantifiers.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ram {

struct Pcre2Pattern {
  std::string text;  ///< for PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE
  /// Characters beyond U+07FF that the pattern itself names, alone or in ranges.
  std::vector<std::pair<char32_t, char32_t>> named;
};

/// @param pattern well-formed UTF-8.
/// @param where   named in messages.
/// @throws Error{kUnsupported} a construct without a counterpart; {kCorrupt} not a pattern.
Pcre2Pattern to_pcre2(std::string_view pattern, const std::string& where);

}  // namespace ram
