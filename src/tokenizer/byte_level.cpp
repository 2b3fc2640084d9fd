// Printable bytes map to themselves; the others to U+0100 and up, in order.
#include "byte_level.h"

#include <array>

#include "ram/utf8.h"

namespace ram {
namespace {

constexpr bool is_itself(int byte) {
  return (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte <= 0xAC) || byte >= 0xAE;
}

struct Alphabet {
  std::array<std::string, 256> character;
  std::array<int, 256 + 68> byte;

  Alphabet() {
    byte.fill(-1);
    char32_t next = 256;
    for (int b = 0; b < 256; ++b) {
      const char32_t c = is_itself(b) ? static_cast<char32_t>(b) : next++;
      append_utf8(c, character[static_cast<size_t>(b)]);
      byte[c] = b;
    }
  }
};

const Alphabet& alphabet() {
  static const Alphabet kTable;
  return kTable;
}

}  // namespace

void append_byte_level(std::string_view text, std::string& out) {
  const Alphabet& table = alphabet();
  for (const char c : text) out += table.character[static_cast<unsigned char>(c)];
}

int byte_level_byte(char32_t c) {
  const Alphabet& table = alphabet();
  return c < table.byte.size() ? table.byte[c] : -1;
}

}  // namespace ram
