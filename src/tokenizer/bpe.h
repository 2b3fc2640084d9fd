// Byte pair encoding: a piece is split into characters, then the adjacent pair whose merge has the
// lowest rank (leftmost first) is merged until no merge applies.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "ram/tokenizer.h"

#include "flat_map.h"
#include "json.h"

namespace ram {

class Bpe {
 public:
  /// @param node the file's "model".
  /// @throws Error{kCorrupt}; {kUnsupported} another model, or dropout.
  static Bpe parse(Node node);
  Bpe(Bpe&&) = default;  // not copied: the index refers to the tokens
  Bpe& operator=(Bpe&&) = default;

  std::optional<TokenId> id_of(std::string_view token) const;
  const std::string* token_of(TokenId id) const;  ///< null for an id without a token
  TokenId id_end() const { return static_cast<TokenId>(tokens_.size()); }
  int64_t size() const { return static_cast<int64_t>(ids_.size()); }

  /// Recently merged pieces; one per call of encode, sized to the text.
  class Memory {
   public:
    explicit Memory(size_t text_bytes);

   private:
    friend class Bpe;
    struct Slot;
    struct Symbol {
      TokenId id;
      uint32_t next;
      uint32_t previous;
    };
    std::vector<uint8_t> keys_;
    std::vector<TokenId> values_;
    size_t slots_ = 0;
    std::vector<Symbol> symbols_;
    std::vector<uint64_t> heap_;
  };

  /// Appends the ids of a piece. @cost O(n log n) of its length.
  void encode(std::string_view piece, Memory& memory, std::vector<TokenId>& out) const;

 private:
  Bpe() = default;
  void parse_merges(const Node& node);
  void find_borders();
  void add_symbols(std::string_view piece, Memory& memory) const;
  void merge(Memory& memory) const;
  void merge_few(std::vector<Memory::Symbol>& symbols) const;
  void merge_part(std::string_view part, Memory& memory, std::vector<TokenId>& out) const;
  TokenId character_id(std::string_view character) const;

  std::vector<std::string> tokens_;  ///< by id
  std::vector<bool> known_;          ///< the id has a token
  std::unordered_map<std::string_view, TokenId> ids_;
  FlatMap merges_;    ///< left << 32 | right to rank << 32 | id
  FlatMap inside_;    ///< pairs of characters (ids) that are adjacent within some token
  bool cut_ = false;  ///< no merge crosses a pair that is not in inside_
  std::array<TokenId, 128> ascii_;     ///< ids of single ASCII characters, -1 for none
  std::array<TokenId, 256> byte_ids_;  ///< of "<0x00>" to "<0xFF>", -1 for none
  std::optional<TokenId> unk_;
  std::string no_unk_;  ///< how messages name an unk_token that is not in the vocabulary
  std::string prefix_;  ///< of every character but a word's first
  std::string suffix_;  ///< of a word's last character
  bool fuse_unk_ = false;
  bool byte_fallback_ = false;
  bool ignore_merges_ = false;
};

}  // namespace ram
