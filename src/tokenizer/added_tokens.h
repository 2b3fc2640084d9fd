// The file's "added_tokens": found in the text before anything else is done with it, never split.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ram/tokenizer.h"

#include "bpe.h"
#include "flat_map.h"
#include "json.h"
#include "normalizer.h"

namespace ram {

struct AddedToken {
  std::string content;
  std::string form;  ///< what is searched for: the content, normalized if the token is
  bool single_word = false;
  bool lstrip = false;
  bool rstrip = false;
  bool normalized = false;
  bool special = false;
};

// NOLINTNEXTLINE(readability-identifier-naming): a loop of the implicit assignment, not ours
class AddedTokens {
 public:
  /// Assigns ids as `tokenizers` does: the vocabulary's id where it has the token, else the next
  /// free one; the ids in the file are ignored.
  /// @throws Error{kCorrupt}
  static AddedTokens parse(const Node& file, const Bpe& bpe, const Normalizer& normalizer);

  const std::map<TokenId, AddedToken>& by_id() const { return by_id_; }
  std::optional<TokenId> id_of(std::string_view content) const;
  bool is_special(std::string_view text) const;

  /// Splits text at tokens. @param visit gets an id, or -1 and a stretch without tokens, as start
  /// and end; none is empty. @param normalized which of the two kinds to search for.
  void cut(std::string_view text, bool normalized,
           const std::function<void(TokenId, size_t, size_t)>& visit) const;

 private:
  struct Trie {
    FlatMap next;                  ///< node << 8 | byte to node; node 0 is the root
    std::vector<TokenId> ids{-1};  ///< by node
    std::vector<bool> first = std::vector<bool>(256);  ///< whether a token begins with this byte

    void add(std::string_view text, TokenId id);
    /// @return the longest token that begins here, as id and length.
    std::pair<TokenId, size_t> longest(std::string_view text) const;
  };

  std::map<TokenId, AddedToken> by_id_;
  std::unordered_map<std::string, TokenId> by_content_;
  std::unordered_map<std::string, bool> special_;
  Trie tries_[2];  ///< by `normalized`
};

}  // namespace ram
