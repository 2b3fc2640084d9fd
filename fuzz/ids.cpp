// Token ids, as a file for --ids and as words on stdin: any text is refused clearly, or becomes ids
// that the tokenizer knows.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "ram/token_ids.h"

#include "refusal.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const ram::Tokenizer kTokenizer = ram::Tokenizer::parse(
      R"({"model": {"type": "BPE", "vocab": {"a": 0, "b": 7, "c": 12}, "merges": []}})", "t.json");
  const std::string input(reinterpret_cast<const char*>(data), size);
  try {
    const auto rows = ram::parse_id_rows(input, "ids.json");
    if (rows.empty() || rows.front().empty()) std::abort();
    for (const std::vector<ram::TokenId>& row : rows) {
      if (row.size() != rows.front().size()) std::abort();
      for (const int32_t id : row) {
        if (id < 0) std::abort();
      }
    }
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
  }
  try {
    for (const ram::TokenId id : ram::parse_id_words(input, kTokenizer)) {
      if (!kTokenizer.token_of(id)) std::abort();
    }
  } catch (const ram::Error& error) {
    ram::expect_clear(error);
  }
  return 0;
}
