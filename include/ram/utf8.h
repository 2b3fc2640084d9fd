// UTF-8: checking that text is well formed, and the code points of well-formed text.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace ram {

/// @return length in bytes of the character that begins with this byte.
inline size_t utf8_length(char first) {
  const auto byte = static_cast<unsigned char>(first);
  return byte < 0x80 ? 1 : byte < 0xE0 ? 2 : byte < 0xF0 ? 3 : 4;
}

/// @return whether a byte is of a character that began before it.
constexpr bool continues_utf8(char byte) {
  return (static_cast<unsigned char>(byte) & 0xC0U) == 0x80U;
}

/// @param at the first byte of a whole character. @return its code point.
inline char32_t utf8_code_point(const char* at) {
  const auto byte = [at](int i) {
    return static_cast<char32_t>(static_cast<unsigned char>(at[i]));
  };
  switch (utf8_length(*at)) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    default:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 |
             (byte(3) & 0x3F);
  }
}

/// @return the start of the character that ends at `end`, which is not 0.
inline size_t utf8_previous(std::string_view text, size_t end) {
  do {
    --end;
  } while (continues_utf8(text[end]));
  return end;
}

/// @param code_point at most 0x10FFFF, not a surrogate.
void append_utf8(char32_t code_point, std::string& out);

/// Calls visit(code point, start, end) for each character of well-formed text.
template <typename Visit>
void for_each_character(std::string_view text, Visit visit) {
  for (size_t i = 0; i < text.size();) {
    const size_t length = utf8_length(text[i]);
    visit(utf8_code_point(text.data() + i), i, i + length);
    i += length;
  }
}

/// @return length of the well-formed UTF-8 prefix: text.size() if all of it is.
/// @source The Unicode Standard, table 3-7
size_t well_formed_utf8(std::string_view text);

/// @return the text with each ill-formed sequence replaced by U+FFFD, as in Python's
///         bytes.decode(errors="replace"): one for each maximal prefix of a valid sequence.
std::string replace_ill_formed_utf8(std::string_view text);

}  // namespace ram
