// UTF-8 decoded with every rule of well-formedness, and what is not printable replaced.
#include "ram/text.h"

#include <cstdint>

namespace ram {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

struct Character {
  char32_t code = 0;
  size_t length = 1;
  bool well_formed = false;
};

/// The character that begins at `at`; an ill-formed one is as long as the part of it that could
/// have been one. @source Unicode 16, table 3-7 and "maximal subparts"
Character character_at(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) -> uint32_t {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0;
  };
  const uint32_t first = byte(0);
  if (first < 0x80) return {first, 1, true};
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4) return {};
  uint32_t code = first & (0x7FU >> length);
  for (size_t i = 1; i < length; ++i) {
    uint32_t least = 0x80;
    uint32_t most = 0xBF;
    if (i == 1) {
      if (first == 0xE0) least = 0xA0;
      if (first == 0xED) most = 0x9F;
      if (first == 0xF0) least = 0x90;
      if (first == 0xF4) most = 0x8F;
    }
    if (byte(i) < least || byte(i) > most) return {0, i, false};
    code = code << 6 | (byte(i) & 0x3F);
  }
  return {code, length, true};
}

bool is_printable(char32_t code) {
  const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
  const bool separator = code == 0x2028 || code == 0x2029;
  const bool turns = code == 0x200E || code == 0x200F || code == 0x061C ||
                     (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
  return !control && !separator && !turns;
}

template <typename Keep>
std::string replaced(std::string_view text, size_t longest, const Keep& keep) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const Character character = character_at(text, at);
    const bool kept = character.well_formed && keep(character.code);
    const std::string_view piece = kept ? text.substr(at, character.length) : kReplacement;
    if (out.size() + piece.size() > longest) return out + "...";
    out += piece;
    at += character.length;
  }
  return out;
}

}  // namespace

std::string printable(std::string_view text, size_t longest) {
  return replaced(text, longest, is_printable);
}

std::string printable_lines(std::string_view text) {
  return replaced(text, std::string::npos,
                  [](char32_t code) { return code == '\n' || code == '\t' || is_printable(code); });
}

}  // namespace ram
