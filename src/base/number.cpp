#include "ram/number.h"

#include <clocale>
#include <cmath>
#include <cstdlib>
#include <string>

#if defined(__APPLE__)
#include <xlocale.h>
#endif

namespace ram {
namespace {

size_t digits_at(std::string_view text, size_t from) {
  size_t end = from;
  while (end < text.size() && is_digit(text[end])) ++end;
  return end - from;
}

bool has_sign(std::string_view text, size_t at) {
  return at < text.size() && (text[at] == '+' || text[at] == '-');
}

bool is_decimal(std::string_view text) {
  size_t at = has_sign(text, 0) ? 1 : 0;
  size_t digits = digits_at(text, at);
  at += digits;
  if (at < text.size() && text[at] == '.') {
    const size_t behind = digits_at(text, at + 1);
    at += 1 + behind;
    digits += behind;
  }
  if (digits == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    at += has_sign(text, at + 1) ? 2 : 1;
    const size_t exponent = digits_at(text, at);
    if (exponent == 0) return false;
    at += exponent;
  }
  return at == text.size();
}

}  // namespace

std::optional<double> parse_number(std::string_view text) {
  if (!is_decimal(text)) return std::nullopt;
  static const locale_t kPlain = newlocale(LC_ALL_MASK, "C", nullptr);
  const double value = strtod_l(std::string(text).c_str(), nullptr, kPlain);
  if (!std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace ram
