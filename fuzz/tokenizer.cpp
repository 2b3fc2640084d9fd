// tokenizer.json: any text is refused clearly, or becomes a tokenizer that turns text into ids that
// it knows, and these ids into well-formed UTF-8.
#include "ram/tokenizer.h"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "ram/utf8.h"

#include "refusal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input(reinterpret_cast<const char*>(data), size);
  try {
    const ram::Tokenizer tokenizer = ram::Tokenizer::parse(input, "tokenizer.json");
    for (const std::string text :
         {"It's a <s> 12 \xCC\x81 \xF0\x9F\x98\x80\n\n  x", "\xFF", "aaaaaaaa"}) {
      const auto ids = tokenizer.encode(text, ram::Specials::kNone);
      for (const ram::TokenId id : ids) {
        if (!tokenizer.token_of(id)) std::abort();
      }
      const std::string back = tokenizer.decode(ids, false);
      if (ram::replace_ill_formed_utf8(back) != back) std::abort();
    }
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
  }
  return 0;
}
