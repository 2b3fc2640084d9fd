// Any bytes: text accepted as well formed is so by a separately written decoder; repairing and
// cleaning are idempotent.
#include "ram/utf8.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "ram/text.h"

namespace {

/// Bytes of the sequence that starts the text, by value rather than by byte ranges; 0: ill formed.
size_t sequence(std::string_view text) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(text[i]); };
  size_t length = 1;
  uint32_t code = byte(0);
  if (code >= 0xF8) return 0;
  if (code >= 0x80) {
    length = code >= 0xF0 ? 4 : code >= 0xE0 ? 3 : 2;
    if (code < 0xC0 || text.size() < length) return 0;
    code &= 0xFFU >> (length + 1);
    for (size_t i = 1; i < length; ++i) {
      if ((byte(i) & 0xC0U) != 0x80) return 0;
      code = code << 6 | (byte(i) & 0x3FU);
    }
    constexpr uint32_t kLeast[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kLeast[length] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)) return 0;
  }
  std::string again;
  ram::append_utf8(code, again);
  if (again != text.substr(0, length)) std::abort();
  if (ram::utf8_length(text[0]) != length || ram::utf8_code_point(text.data()) != code)
    std::abort();
  return length;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  size_t good = 0;
  while (good < size) {
    const size_t length = sequence(std::string_view(input).substr(good));
    if (length == 0) break;
    good += length;
  }
  if (ram::well_formed_utf8(input) != good) std::abort();
  const std::string repaired = ram::replace_ill_formed_utf8(input);
  if (ram::well_formed_utf8(repaired) != repaired.size()) std::abort();
  if ((good == size) != (repaired == input)) std::abort();
  if (ram::replace_ill_formed_utf8(repaired) != repaired) std::abort();
  const std::string line = ram::printable(input, SIZE_MAX);
  for (const char c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) std::abort();
  }
  if (ram::printable(line, SIZE_MAX) != line) std::abort();
  const std::string few = ram::printable(input, 20);
  if (few.size() > 23 || ram::well_formed_utf8(few) != few.size()) std::abort();
  return 0;
}
