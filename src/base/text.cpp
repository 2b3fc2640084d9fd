// Replaces what is not printable, character by character.
#include "ram/text.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "ram/utf8.h"

namespace ram {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

bool is_printable(char32_t code) {
  const bool control = code < 0x20 || (code >= 0x7F && code < 0xA0);
  const bool separator = code == 0x2028 || code == 0x2029;
  const bool turns = code == 0x200E || code == 0x200F || code == 0x061C ||
                     (code >= 0x202A && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
  return !control && !separator && !turns;
}

template <typename Keep>
std::string replaced(std::string_view text, size_t longest, const Keep& keep) {
  const std::string repaired = replace_ill_formed_utf8(text);
  std::string out;
  bool cut = false;
  for_each_character(repaired, [&](char32_t code, size_t start, size_t end) {
    const std::string_view piece =
        keep(code) ? std::string_view(repaired).substr(start, end - start) : kReplacement;
    cut = cut || out.size() + piece.size() > longest;
    if (!cut) out += piece;
  });
  return cut ? out + "..." : out;
}

}  // namespace

std::string printable(std::string_view text, size_t longest) {
  return replaced(text, longest, is_printable);
}

std::string printable_lines(std::string_view text) {
  return replaced(text, std::string::npos,
                  [](char32_t code) { return code == '\n' || code == '\t' || is_printable(code); });
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  size_t begin = 0;
  while (begin <= text.size()) {
    const size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string format_seconds(double seconds) {
  if (seconds < 0.995) return fmt::format("{:.2f} s", seconds);
  if (seconds < 9.95) return fmt::format("{:.1f} s", seconds);
  const auto whole = static_cast<int64_t>(std::llround(seconds));
  if (whole < 60) return fmt::format("{} s", whole);
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

}  // namespace ram
