// Python's text functions on UTF-8.
#include "python_text.h"

#include <algorithm>

#include <utf8proc.h>

#include "ram/utf8.h"

namespace ram {
namespace {

// str.isspace of one character.
bool is_space(char32_t c) {
  return (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 ||
         c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 || c == 0x202f ||
         c == 0x205f || c == 0x3000;
}

}  // namespace

std::string_view python_rstrip(std::string_view text) {
  while (!text.empty()) {
    const size_t at = utf8_previous(text, text.size());
    if (!is_space(utf8_code_point(text.data() + at))) break;
    text = text.substr(0, at);
  }
  return text;
}

std::string_view python_lstrip(std::string_view text) {
  while (!text.empty()) {
    if (!is_space(utf8_code_point(text.data()))) break;
    text.remove_prefix(utf8_length(text.front()));
  }
  return text;
}

std::string_view python_strip(std::string_view text) {
  return python_lstrip(python_rstrip(text));
}

std::string python_capitalize(std::string_view text) {
  std::string out;
  for_each_character(text, [&](char32_t c, size_t at, size_t) {
    const auto code = static_cast<utf8proc_int32_t>(c);
    append_utf8(static_cast<char32_t>(at == 0 ? utf8proc_totitle(code) : utf8proc_tolower(code)),
                out);
  });
  return out;
}

int64_t python_length(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char byte) { return !continues_utf8(byte); });
}

std::string python_replace(std::string_view text, std::string_view from, std::string_view to) {
  std::string out;
  for (;;) {
    const size_t at = text.find(from);
    out += text.substr(0, at);
    if (at == std::string_view::npos) return out;
    out += to;
    text.remove_prefix(at + from.size());
  }
}

std::string without_brackets(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '[') {
      const size_t end = text.find_first_of("]\n", at);
      if (end != std::string_view::npos && text[end] == ']') {
        at = end + 1;
        continue;
      }
    }
    out += text[at++];
  }
  return out;
}

}  // namespace ram
