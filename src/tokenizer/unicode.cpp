// Rules over utf8proc's categories, with exceptions by table or by name.
#include "unicode.h"

#include <algorithm>
#include <array>
#include <vector>

#include <utf8proc.h>

#include "ram/error.h"
#include "ram/utf8.h"

namespace ram {
namespace {

const CodeRange* find_range(std::span<const CodeRange> table, char32_t c) {
  const auto after =
      std::upper_bound(table.begin(), table.end(), static_cast<uint32_t>(c),
                       [](uint32_t code, const CodeRange& range) { return code < range.first; });
  if (after == table.begin() || (after - 1)->last < c) return nullptr;
  return &*(after - 1);
}

bool is_within(char32_t c, char32_t first, char32_t last) {
  return c >= first && c <= last;
}

utf8proc_category_t category(char32_t c) {
  const CodeRange* changed = find_range(kNewCategory, c);
  if (changed != nullptr) return static_cast<utf8proc_category_t>(changed->value);
  return utf8proc_category(static_cast<utf8proc_int32_t>(c));
}

bool is_letter(utf8proc_category_t category) {
  return category >= UTF8PROC_CATEGORY_LU && category <= UTF8PROC_CATEGORY_LO;
}

bool is_mark(utf8proc_category_t category) {
  return category >= UTF8PROC_CATEGORY_MN && category <= UTF8PROC_CATEGORY_ME;
}

bool is_ascii_alphanumeric(char32_t c) {
  return is_within(c, '0', '9') || is_within(c, 'A', 'Z') || is_within(c, 'a', 'z');
}

/// Canonical order: marks between two starters sorted by their class, stable.
void order_marks(std::vector<utf8proc_int32_t>& codes) {
  const auto rank = [](utf8proc_int32_t c) { return utf8proc_get_property(c)->combining_class; };
  for (size_t i = 0; i < codes.size();) {
    size_t end = i;
    while (end < codes.size() && rank(codes[end]) != 0) ++end;
    if (end - i > 1) {
      std::stable_sort(codes.begin() + static_cast<ptrdiff_t>(i),
                       codes.begin() + static_cast<ptrdiff_t>(end),
                       [&](utf8proc_int32_t a, utf8proc_int32_t b) { return rank(a) < rank(b); });
    }
    i = end + 1;
  }
}

/// Appends the normal form of text in which nothing is inert.
void normalize_run(std::string_view text, NormalForm form, std::vector<utf8proc_int32_t>& codes,
                   std::string& out) {
  const bool compat = form == NormalForm::kNfkc || form == NormalForm::kNfkd;
  const bool compose = form == NormalForm::kNfc || form == NormalForm::kNfkc;
  const int options = UTF8PROC_DECOMPOSE | (compat ? UTF8PROC_COMPAT : 0);
  codes.clear();
  for_each_character(text, [&](char32_t c, size_t, size_t) {
    std::array<utf8proc_int32_t, 32> parts;  // the longest decomposition has 18
    int boundary = 0;
    const utf8proc_ssize_t count = utf8proc_decompose_char(
        static_cast<utf8proc_int32_t>(c), parts.data(), static_cast<utf8proc_ssize_t>(parts.size()),
        static_cast<utf8proc_option_t>(options), &boundary);
    RAM_CHECK(count >= 0 && count <= static_cast<utf8proc_ssize_t>(parts.size()));
    codes.insert(codes.end(), parts.begin(), parts.begin() + count);
  });
  order_marks(codes);
  auto count = static_cast<utf8proc_ssize_t>(codes.size());
  if (compose) {
    count = utf8proc_normalize_utf32(
        codes.data(), count, static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
    RAM_CHECK(count >= 0);
  }
  for (utf8proc_ssize_t i = 0; i < count; ++i) {
    append_utf8(static_cast<char32_t>(codes[static_cast<size_t>(i)]), out);
  }
}

}  // namespace

bool is_whitespace(char32_t c) {
  if (c < 0x80) return c == ' ' || is_within(c, '\t', '\r');
  return c == 0x85 || c == 0xA0 || c == 0x1680 || is_within(c, 0x2000, 0x200A) || c == 0x2028 ||
         c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

bool is_numeric(char32_t c) {
  if (c < 0x80) return is_within(c, '0', '9');
  const utf8proc_category_t kind = category(c);
  return kind == UTF8PROC_CATEGORY_ND || kind == UTF8PROC_CATEGORY_NL ||
         kind == UTF8PROC_CATEGORY_NO || is_within(c, 0x11DE0, 0x11DE9) ||
         is_within(c, 0x16FF4, 0x16FF6);  // of Unicode 17
}

bool is_punctuation(char32_t c) {
  if (c < 0x80) return is_within(c, '!', '~') && !is_ascii_alphanumeric(c);
  if (c == 0x166D || c == 0x111C9) return true;  // formerly punctuation
  const utf8proc_category_t kind = category(c);
  return kind >= UTF8PROC_CATEGORY_PC && kind <= UTF8PROC_CATEGORY_PO &&
         find_range(kNotPunctuation, c) == nullptr;
}

bool is_word(char32_t c) {
  if (c < 0x80) return is_ascii_alphanumeric(c) || c == '_';
  const utf8proc_category_t kind = category(c);
  // Letters in circles and squares are alphabetic although they are symbols; the joiners count as
  // word characters.
  return is_letter(kind) || is_mark(kind) || kind == UTF8PROC_CATEGORY_ND ||
         kind == UTF8PROC_CATEGORY_NL || kind == UTF8PROC_CATEGORY_PC ||
         is_within(c, 0x200C, 0x200D) || is_within(c, 0x24B6, 0x24E9) ||
         is_within(c, 0x1F130, 0x1F149) || is_within(c, 0x1F150, 0x1F169) ||
         is_within(c, 0x1F170, 0x1F189);
}

bool is_combining_mark(char32_t c) {
  if (c < 0x300) return false;
  if (find_range(kCombining, c) != nullptr) return true;
  return is_mark(category(c)) && find_range(kNotCombining, c) == nullptr;
}

void append_lower(char32_t c, std::string& out) {
  if (c < 0x80) {
    out += static_cast<char>(is_within(c, 'A', 'Z') ? c + 32 : c);
  } else if (c == 0x130) {
    out += "i\xCC\x87";  // the only character whose lower case has two characters
  } else if (const CodeRange* changed = find_range(kNewLower, c); changed != nullptr) {
    append_utf8(changed->value, out);
  } else {
    append_utf8(static_cast<char32_t>(utf8proc_tolower(static_cast<utf8proc_int32_t>(c))), out);
  }
}

std::string normalized(std::string_view text, NormalForm form) {
  std::string out;
  out.reserve(text.size());
  std::vector<utf8proc_int32_t> codes;
  const auto is_ascii = [&](size_t i) { return static_cast<unsigned char>(text[i]) < 0x80; };
  for (size_t i = 0; i < text.size();) {
    // ASCII changes only because of what follows it.
    size_t plain = i;
    while (plain < text.size() && is_ascii(plain)) ++plain;
    if (plain < text.size() && plain > i) --plain;
    out.append(text.substr(i, plain - i));
    i = plain;
    // Nothing is reordered or composed across two ASCII characters, nor across an inert one.
    size_t end = i;
    size_t next = i;
    while (end < text.size()) {
      if (end + 1 < text.size() && is_ascii(end) && is_ascii(end + 1)) break;
      next = end + utf8_length(text[end]);
      if (!is_ascii(end) && find_range(kInert, utf8_code_point(text.data() + end)) != nullptr)
        break;
      end = next;
    }
    normalize_run(text.substr(i, end - i), form, codes, out);
    if (end < text.size() && !is_ascii(end)) {
      out.append(text.substr(end, next - end));
      end = next;
    }
    i = end;
  }
  return out;
}

std::string_view with_stand_ins(std::string_view text,
                                const std::vector<std::pair<char32_t, char32_t>>& named,
                                std::string& storage) {
  const auto alike = [&named](char32_t c, char32_t other) {
    return std::all_of(named.begin(), named.end(), [&](const auto& range) {
      return is_within(c, range.first, range.second) == is_within(other, range.first, range.second);
    });
  };
  bool copied = false;
  const uint32_t first = kStandIn.front().first;
  for (size_t i = 0; i < text.size();) {
    // All of them have three or four bytes.
    if (static_cast<unsigned char>(text[i]) < 0xE0) {
      ++i;
      continue;
    }
    const size_t length = utf8_length(text[i]);
    const char32_t c = utf8_code_point(text.data() + i);
    const CodeRange* changed = c < first ? nullptr : find_range(kStandIn, c);
    if (changed != nullptr && alike(c, changed->value)) {
      if (!copied) storage.assign(text);
      copied = true;
      std::string spelled;
      append_utf8(changed->value, spelled);
      RAM_CHECK(spelled.size() == length);
      storage.replace(i, length, spelled);
    }
    i += length;
  }
  return copied ? std::string_view(storage) : text;
}

}  // namespace ram
