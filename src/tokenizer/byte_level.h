// The byte-level alphabet of GPT-2: each byte as a printable character, so that any bytes become a
// string of such characters.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace ram {

/// Appends each byte of `text` as its character.
void append_byte_level(std::string_view text, std::string& out);

/// @return the byte that this character represents, -1 for a character outside the alphabet.
int byte_level_byte(char32_t c);

}  // namespace ram
