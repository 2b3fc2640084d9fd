// A pattern of tokenizer.json: any text is refused clearly, or becomes a pattern that PCRE2 takes
// and whose matches cover a text without a gap.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "ram/utf8.h"

#include "pattern.h"
#include "refusal.h"
#include "regex_syntax.h"

namespace {

// PCRE2 may refuse what the translator accepted: for its own limits, and for errors that only
// compiling finds (a lookbehind without a length, a group that does not exist).
void compile_and_match(const std::string& pattern) {
  const ram::Pattern compiled = ram::Pattern::regex(pattern, "fuzz");
  for (const std::string text :
       {"It's 12 ab\xCC\x81 \xF0\x9F\x98\x80\n\n  x", "aaaaaaaaaaaaaaab", "\xE7\x8B\x90"}) {
    ram::MatchScratch scratch(ram::Growth::of_text(text.size()));
    size_t seen = 0;
    compiled.segments(text, scratch, [&](ram::Segment segment) {
      if (segment.start != seen || segment.end < segment.start) std::abort();
      if (ram::well_formed_utf8(std::string_view(text).substr(
              segment.start, segment.end - segment.start)) != segment.end - segment.start) {
        std::abort();
      }
      seen = segment.end;
    });
    if (seen != text.size()) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string input =
      ram::replace_ill_formed_utf8({reinterpret_cast<const char*>(data), size});
  try {
    const std::string translated = ram::to_pcre2(input, "fuzz").text;
    if (ram::well_formed_utf8(translated) != translated.size()) std::abort();
    compile_and_match(input);
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
  }
  return 0;
}
