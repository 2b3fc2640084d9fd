// Leftmost-longest by a trie; then the conditions and extensions (single_word, lstrip, rstrip) in
// the order in which `tokenizers` applies them.
#include "added_tokens.h"

#include <algorithm>

#include <fmt/format.h>

#include "ram/utf8.h"

#include "unicode.h"

namespace ram {
namespace {

size_t spaces_before(std::string_view text, size_t end) {
  while (end > 0) {
    const size_t previous = utf8_previous(text, end);
    if (!is_whitespace(utf8_code_point(text.data() + previous))) break;
    end = previous;
  }
  return end;
}

size_t spaces_after(std::string_view text, size_t start) {
  while (start < text.size() && is_whitespace(utf8_code_point(text.data() + start))) {
    start += utf8_length(text[start]);
  }
  return start;
}

bool is_single_word(std::string_view text, size_t start, size_t end) {
  const bool word_before =
      start > 0 && is_word(utf8_code_point(text.data() + utf8_previous(text, start)));
  return !word_before && (end == text.size() || !is_word(utf8_code_point(text.data() + end)));
}

}  // namespace

void AddedTokens::Trie::add(std::string_view text, TokenId id) {
  uint64_t node = 0;
  first[static_cast<unsigned char>(text[0])] = true;
  for (const char c : text) {
    const uint64_t key = node << 8 | static_cast<unsigned char>(c);
    uint64_t child = next.find(key);
    if (child == FlatMap::kNone) {
      child = ids.size();
      ids.push_back(-1);
      next.put(key, child);
    }
    node = child;
  }
  ids[node] = id;
}

std::pair<TokenId, size_t> AddedTokens::Trie::longest(std::string_view text) const {
  std::pair<TokenId, size_t> best = {-1, 0};
  uint64_t node = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    node = next.find(node << 8 | static_cast<unsigned char>(text[i]));
    if (node == FlatMap::kNone) break;
    if (ids[node] >= 0) best = {ids[node], i + 1};
  }
  return best;
}

AddedTokens AddedTokens::parse(const Node& file, const Bpe& bpe, const Normalizer& normalizer) {
  AddedTokens added;
  if (!file.has("added_tokens")) return added;
  size_t bytes = 0;
  for (const Json& entry : file.list("added_tokens")) {
    const Node node(entry, file.where());
    if (node.has("content")) bytes += node.text("content").size();
  }
  MatchScratch scratch(Growth::of_text(bytes));
  TokenId next = static_cast<TokenId>(bpe.size());
  size_t index = 0;
  for (const Json& entry : file.list("added_tokens")) {
    const Node node(entry, fmt::format("added_tokens {}, {}", index++, file.where()));
    AddedToken token;
    token.content = node.text("content");
    token.single_word = node.flag("single_word");
    token.lstrip = node.flag("lstrip");
    token.rstrip = node.flag("rstrip");
    token.normalized = node.flag("normalized");
    token.special = node.flag("special");
    node.whole("id", 0xFFFFFFFF);
    if (token.content.empty()) continue;
    token.form = token.content;
    bool at_start = true;
    if (token.normalized) normalizer.apply(token.form, scratch, at_start);
    std::optional<TokenId> id = added.id_of(token.content);
    if (!id) id = bpe.id_of(token.content);
    if (!id) id = next++;
    added.by_content_[token.content] = *id;
    if (token.special) added.special_[token.content] = true;
    added.by_id_[*id] = std::move(token);
  }
  for (const auto& [id, token] : added.by_id_) {
    if (!token.form.empty()) added.tries_[token.normalized ? 1 : 0].add(token.form, id);
  }
  return added;
}

std::optional<TokenId> AddedTokens::id_of(std::string_view content) const {
  const auto found = by_content_.find(std::string(content));
  if (found == by_content_.end()) return std::nullopt;
  return found->second;
}

bool AddedTokens::is_special(std::string_view text) const {
  return special_.contains(std::string(text));
}

void AddedTokens::cut(std::string_view text, bool normalized,
                      const std::function<void(TokenId, size_t, size_t)>& visit) const {
  const Trie& trie = tries_[normalized ? 1 : 0];
  size_t seen = 0;
  for (size_t at = 0; at < text.size();) {
    if (!trie.first[static_cast<unsigned char>(text[at])]) {
      ++at;
      continue;
    }
    const auto [id, length] = trie.longest(text.substr(at));
    if (id < 0) {
      ++at;
      continue;
    }
    const AddedToken& token = by_id_.at(id);
    size_t start = at;
    size_t end = at + length;
    at = end;
    if (token.single_word && !is_single_word(text, start, end)) continue;
    if (token.lstrip) start = std::max(spaces_before(text, start), seen);
    if (token.rstrip) end = spaces_after(text, end);
    if (seen < start) visit(-1, seen, start);
    visit(id, start, end);
    seen = end;
  }
  if (seen < text.size()) visit(-1, seen, text.size());
}

}  // namespace ram
