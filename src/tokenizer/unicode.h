// Properties of characters as Hugging Face `tokenizers` sees them: its parts use different versions
// of Unicode (regular expressions 16, Rust's characters 17, normalization 9). utf8proc does the
// work; unicode_tables.cpp, written by scripts/unicode/make_tables.py, holds the differences.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ram {

bool is_whitespace(char32_t c);  ///< White_Space, also `\s` of the file's patterns
bool is_numeric(char32_t c);     ///< categories Nd, Nl, No
bool is_punctuation(char32_t c);
bool is_word(char32_t c);            ///< `\w` as added tokens and Whitespace define it
bool is_combining_mark(char32_t c);  ///< what StripAccents removes

/// Appends the lower case of a character (one or two characters, no context).
void append_lower(char32_t c, std::string& out);

enum class NormalForm : uint8_t { kNfc, kNfd, kNfkc, kNfkd };

/// @return well-formed text in a normal form. @cost O(n log n) at worst, on a run of marks.
std::string normalized(std::string_view text, NormalForm form);

/// @return the text with every character whose category changed since Unicode 14 replaced by one of
/// the same category and the same length in bytes; or `text` itself if there is none.
/// @param named   ranges that a pattern names itself: a character is not replaced by one from a
/// different range of these.
/// @param storage holds the changed text.
std::string_view with_stand_ins(std::string_view text,
                                const std::vector<std::pair<char32_t, char32_t>>& named,
                                std::string& storage);

/// A range of code points with a value; tables are sorted.
struct CodeRange {
  uint32_t first;
  uint32_t last;
  uint32_t value;
};

extern const std::span<const CodeRange> kNewCategory;     ///< utf8proc_category_t, since Unicode 14
extern const std::span<const CodeRange> kStandIn;         ///< same ranges: same category in 14
extern const std::span<const CodeRange> kNotPunctuation;  ///< P, but not punctuation
extern const std::span<const CodeRange> kNotCombining;    ///< M, but not a mark
extern const std::span<const CodeRange> kCombining;       ///< the reverse
extern const std::span<const CodeRange> kInert;           ///< not normalized: too new
extern const std::span<const CodeRange> kNewLower;        ///< value: the lower case of `first`

}  // namespace ram
