#include "ram/token_ids.h"

#include <algorithm>
#include <charconv>
#include <cstdint>

#include "ram/error.h"
#include "ram/json.h"
#include "ram/json_tree.h"

namespace ram {
namespace {

// A list of lists of numbers; it may be long.
constexpr JsonLimits kIdLimits = {.bytes = kMostIdBytes, .depth = 2, .values = int64_t{1} << 26};

}  // namespace

std::vector<std::vector<TokenId>> parse_id_rows(std::string_view json, const std::string& file) {
  const JsonTree tree(parse_json(json, file, kIdLimits));
  const nlohmann::json& document = *tree;
  if (!document.is_array() || document.empty()) {
    fail(Code::kCorrupt, "{}: a JSON list of lists of token ids is expected, as [[1, 2, 3]]", file);
  }
  std::vector<std::vector<TokenId>> rows;
  for (const auto& list : document) {
    std::vector<TokenId>& row = rows.emplace_back();
    if (!list.is_array() || list.empty()) {
      fail(Code::kCorrupt, "{}: sequence {} is not a list of token ids", file, rows.size() - 1);
    }
    for (const auto& id : list) {
      if (!id.is_number_integer() || id.get<double>() < 0 || id.get<double>() > INT32_MAX) {
        fail(Code::kCorrupt, "{}: sequence {} holds {}, which is not a token id", file,
             rows.size() - 1, json_shown(id));
      }
      row.push_back(id.get<int32_t>());
    }
    if (row.size() != rows.front().size()) {
      fail(Code::kCorrupt, "{}: sequence {} has {} ids, the first has {}: all must have one length",
           file, rows.size() - 1, row.size(), rows.front().size());
    }
  }
  return rows;
}

std::vector<TokenId> parse_id_words(std::string_view text, const Tokenizer& tokenizer) {
  constexpr std::string_view kBetween = " \t\r\n,[]";
  std::vector<TokenId> ids;
  for (size_t at = text.find_first_not_of(kBetween); at != std::string_view::npos;
       at = text.find_first_not_of(kBetween, at)) {
    const size_t end = std::min(text.find_first_of(kBetween, at), text.size());
    const std::string_view word = text.substr(at, end - at);
    TokenId id = 0;
    const auto [stop, error] = std::from_chars(word.data(), word.data() + word.size(), id);
    if (error != std::errc() || stop != word.data() + word.size() || !tokenizer.token_of(id)) {
      std::string shown(word.substr(0, 20));
      for (char& c : shown) {
        if (c < 0x20 || c > 0x7E) c = '?';
      }
      fail(Code::kCorrupt,
           "'{}' is not an id of this tokenizer: use numbers from 0 to {} (stdin, id {})", shown,
           tokenizer.id_end() - 1, ids.size() + 1);
    }
    ids.push_back(id);
    at = end;
  }
  return ids;
}

void drop_template(const Tokenizer& tokenizer, std::vector<TokenId>& ids) {
  const std::vector<TokenId>& prefix = tokenizer.prefix_ids();
  const std::vector<TokenId>& suffix = tokenizer.suffix_ids();
  const auto length = [](const std::vector<TokenId>& some) {
    return static_cast<ptrdiff_t>(some.size());
  };
  if (ids.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), ids.begin())) {
    ids.erase(ids.begin(), ids.begin() + length(prefix));
  }
  if (ids.size() >= suffix.size() &&
      std::equal(suffix.begin(), suffix.end(), ids.end() - length(suffix))) {
    ids.erase(ids.end() - length(suffix), ids.end());
  }
}

}  // namespace ram
