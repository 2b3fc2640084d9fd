// Short pieces are merged by repeated search for the best pair, long ones by a heap; recent pieces
// are cached. A long piece (a whole text, if no pre-tokenizer splits it) is first split where no
// merge can reach across: exact, and it yields words that can be cached.
#include "bpe.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/utf8.h"

namespace ram {
namespace {

constexpr uint32_t kEnd = ~uint32_t{0};
constexpr size_t kFew = 48;             ///< symbols; above it the heap is faster
constexpr size_t kMostKey = 31;         ///< bytes of a piece that is cached
constexpr size_t kMostValues = 7;       ///< ids of such a piece
constexpr size_t kMostSlots = 1 << 15;  ///< 2 MiB
constexpr size_t kMostPiece = size_t{1} << 31;

uint64_t pair_key(TokenId left, TokenId right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

TokenId merged_id(uint64_t merge) {
  return static_cast<TokenId>(merge & 0xFFFFFFFFU);
}

size_t hash_piece(std::string_view text) {
  uint64_t hash = text.size() * 0x9E3779B97F4A7C15U;
  while (text.size() >= 8) {
    uint64_t word = 0;
    std::memcpy(&word, text.data(), 8);
    hash = (hash ^ word) * 0xFF51AFD7ED558CCDU;
    hash ^= hash >> 32;
    text.remove_prefix(8);
  }
  uint64_t word = 0;
  std::memcpy(&word, text.data(), text.size());
  hash = (hash ^ word) * 0xFF51AFD7ED558CCDU;
  return hash ^ hash >> 29;
}

}  // namespace

Bpe::Memory::Memory(size_t text_bytes) {
  slots_ = 64;
  while (slots_ < kMostSlots && slots_ < text_bytes / 8) slots_ *= 2;
  keys_.resize(slots_ * (kMostKey + 1));
  values_.resize(slots_ * (kMostValues + 1));
}

std::optional<TokenId> Bpe::id_of(std::string_view token) const {
  const auto found = ids_.find(token);
  if (found == ids_.end()) return std::nullopt;
  return found->second;
}

const std::string* Bpe::token_of(TokenId id) const {
  if (id < 0 || id >= id_end() || !known_[static_cast<size_t>(id)]) return nullptr;
  return &tokens_[static_cast<size_t>(id)];
}

Bpe Bpe::parse(Node node) {
  if (!node.value().is_object()) node.corrupt("model is not an object");
  if (node.has("type")) {
    const std::string type = node.type("model");
    if (type != "BPE") node.unsupported("model " + shown(type), "only BPE is");
  } else if (!node.has("merges")) {
    node.corrupt("model has neither type nor merges");  // old BPE files have no type
  }
  if (node.has("dropout") && node.at("dropout").value() != 0) {
    node.unsupported("dropout, which makes ids random", "set it to null");
  }
  Bpe bpe;
  const Json& vocab = node.at("vocab").value();
  if (!vocab.is_object()) node.corrupt("\"vocab\" is not an object");
  const int64_t most = 16 * static_cast<int64_t>(vocab.size()) + (1 << 20);
  int64_t end = 0;
  for (const auto& [token, id] : vocab.items()) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > most) {
      node.corrupt(
          fmt::format("the id of token {} is not a whole number from 0 to {}", shown(token), most));
    }
    end = std::max(end, id.get<int64_t>() + 1);
  }
  bpe.tokens_.resize(static_cast<size_t>(end));
  bpe.known_.resize(static_cast<size_t>(end));
  bpe.ids_.reserve(vocab.size());
  for (const auto& [token, value] : vocab.items()) {
    const auto id = value.get<size_t>();
    if (bpe.known_[id]) node.corrupt(fmt::format("two tokens have the id {}", id));
    bpe.tokens_[id] = token;
    bpe.known_[id] = true;
    bpe.ids_.emplace(bpe.tokens_[id], static_cast<TokenId>(id));
  }
  bpe.prefix_ = node.optional_text("continuing_subword_prefix").value_or("");
  bpe.suffix_ = node.optional_text("end_of_word_suffix").value_or("");
  bpe.fuse_unk_ = node.flag("fuse_unk", false);
  bpe.byte_fallback_ = node.flag("byte_fallback", false);
  bpe.ignore_merges_ = node.flag("ignore_merges", false);
  if (const std::optional<std::string> unk = node.optional_text("unk_token")) {
    bpe.unk_ = bpe.id_of(*unk);
    // `tokenizers` looks it up only when it needs it.
    if (!bpe.unk_) {
      bpe.no_unk_ = fmt::format("unk_token {} ({})", shown(*unk), node.where());
    }
  }
  for (size_t i = 0; i < bpe.ascii_.size(); ++i) {
    const char c = static_cast<char>(i);
    bpe.ascii_[i] = bpe.id_of({&c, 1}).value_or(-1);
  }
  for (size_t i = 0; i < bpe.byte_ids_.size(); ++i) {
    bpe.byte_ids_[i] = bpe.id_of(fmt::format("<0x{:02X}>", i)).value_or(-1);
  }
  bpe.parse_merges(node);
  bpe.find_borders();
  return bpe;
}

void Bpe::parse_merges(const Node& node) {
  const Json& merges = node.list("merges");
  merges_ = FlatMap(merges.size());
  uint64_t rank = 0;
  std::string whole;
  for (const Json& merge : merges) {
    std::string_view left;
    std::string_view right;
    if (merge.is_string()) {
      const std::string_view text = merge.get_ref<const std::string&>();
      if (text.starts_with("#version")) continue;
      const size_t space = text.find(' ');
      if (space == std::string_view::npos || text.find(' ', space + 1) != std::string_view::npos) {
        node.corrupt(fmt::format("merge {} ({}) is not two tokens", rank, shown(text)));
      }
      left = text.substr(0, space);
      right = text.substr(space + 1);
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      left = merge[0].get_ref<const std::string&>();
      right = merge[1].get_ref<const std::string&>();
    } else {
      node.corrupt(fmt::format("merge {} is neither a string nor a pair of them", rank));
    }
    whole = left;
    if (right.size() < prefix_.size()) {
      node.corrupt(fmt::format("merge {}: {} is shorter than the prefix of continuing subwords",
                               rank, shown(right)));
    }
    whole += right.substr(prefix_.size());
    const auto a = ids_.find(left);
    const auto b = ids_.find(right);
    const auto c = ids_.find(whole);
    if (a == ids_.end() || b == ids_.end() || c == ids_.end()) {
      const std::string_view absent = a == ids_.end() ? left : b == ids_.end() ? right : whole;
      node.corrupt(fmt::format("merge {}: token {} is not in the vocabulary", rank, shown(absent)));
    }
    merges_.put(pair_key(a->second, b->second), rank << 32 | static_cast<uint32_t>(c->second));
    ++rank;
  }
}

// Two neighboring characters that are adjacent in no token made by a merge are never merged, so a
// piece may be split between them. This does not hold where characters are spelled differently from
// the tokens they end up in (prefixes, suffixes, bytes).
void Bpe::find_borders() {
  cut_ = prefix_.empty() && suffix_.empty();
  for (TokenId id = 0; id < id_end() && cut_; ++id) {
    const std::string& token = tokens_[static_cast<size_t>(id)];
    if (!known_[static_cast<size_t>(id)]) continue;
    TokenId previous = -1;
    bool first = true;
    for_each_character(token, [&](char32_t, size_t start, size_t end) {
      const TokenId next = character_id(std::string_view(token).substr(start, end - start));
      if (!first && previous >= 0 && next >= 0) inside_.put(pair_key(previous, next), 0);
      previous = next;
      first = false;
    });
  }
}

TokenId Bpe::character_id(std::string_view character) const {
  if (character.size() == 1) {
    return ascii_[static_cast<unsigned char>(character[0]) & 0x7F];
  }
  const auto found = ids_.find(character);
  return found == ids_.end() ? -1 : found->second;
}

void Bpe::encode(std::string_view piece, Memory& memory, std::vector<TokenId>& out) const {
  if (piece.size() >= kMostPiece) {
    fail(Code::kUnsupported, "{} bytes without a split point (limit 2 GiB); split the text",
         piece.size());
  }
  if (ignore_merges_) {
    if (const std::optional<TokenId> id = id_of(piece)) {
      out.push_back(*id);
      return;
    }
  }
  if (!cut_ || piece.size() <= kMostKey) {
    merge_part(piece, memory, out);
    return;
  }
  size_t start = 0;
  TokenId previous = -1;
  for_each_character(piece, [&](char32_t, size_t at, size_t end) {
    const TokenId next = character_id(piece.substr(at, end - at));
    if (previous >= 0 && next >= 0 && inside_.find(pair_key(previous, next)) == FlatMap::kNone) {
      merge_part(piece.substr(start, at - start), memory, out);
      start = at;
    }
    previous = next;
  });
  merge_part(piece.substr(start), memory, out);
}

void Bpe::merge_part(std::string_view part, Memory& memory, std::vector<TokenId>& out) const {
  uint8_t* key = nullptr;
  TokenId* values = nullptr;
  if (part.size() <= kMostKey) {
    const size_t slot = hash_piece(part) & (memory.slots_ - 1);
    key = memory.keys_.data() + slot * (kMostKey + 1);
    values = memory.values_.data() + slot * (kMostValues + 1);
    // Byte 0 is the length, value 0 the count; an empty slot has length 0, and no piece is empty.
    if (key[0] == part.size() && std::memcmp(key + 1, part.data(), part.size()) == 0) {
      out.insert(out.end(), values + 1, values + 1 + values[0]);
      return;
    }
  }
  add_symbols(part, memory);
  if (memory.symbols_.size() <= kFew) {
    merge_few(memory.symbols_);
  } else {
    merge(memory);
  }
  const size_t before = out.size();
  for (const Memory::Symbol& symbol : memory.symbols_) {
    if (symbol.id >= 0) out.push_back(symbol.id);
  }
  const size_t count = out.size() - before;
  if (key != nullptr && count <= kMostValues) {
    key[0] = static_cast<uint8_t>(part.size());
    std::memcpy(key + 1, part.data(), part.size());
    values[0] = static_cast<TokenId>(count);
    std::copy(out.end() - static_cast<ptrdiff_t>(count), out.end(), values + 1);
  }
}

// Characters as tokens; one that is not in the vocabulary as bytes, else as unk. An unk is held
// back until the next known character, past bytes: `tokenizers` uses this order.
void Bpe::add_symbols(std::string_view piece, Memory& memory) const {
  std::vector<Memory::Symbol>& symbols = memory.symbols_;
  symbols.clear();
  const auto add = [&symbols](TokenId id) { symbols.push_back({id, kEnd, kEnd}); };
  bool unknown = false;
  std::string spelled;
  for_each_character(piece, [&](char32_t, size_t start, size_t end) {
    std::string_view character = piece.substr(start, end - start);
    const bool last = end == piece.size();
    if ((start > 0 && !prefix_.empty()) || (last && !suffix_.empty())) {
      spelled = start > 0 ? prefix_ : "";
      spelled += character;
      if (last) spelled += suffix_;
      character = spelled;
    }
    const TokenId id = character.size() == 1 || spelled.empty() ? character_id(character)
                                                                : id_of(character).value_or(-1);
    if (id >= 0) {
      if (unknown) add(*unk_);
      unknown = false;
      add(id);
      return;
    }
    const bool bytes =
        byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char c) {
          return byte_ids_[static_cast<unsigned char>(c)] >= 0;
        });
    if (bytes) {
      for (const char c : character) add(byte_ids_[static_cast<unsigned char>(c)]);
    } else if (!no_unk_.empty()) {
      fail(Code::kCorrupt, "character {} is not in the vocabulary, nor is {}", shown(character),
           no_unk_);
    } else if (unk_) {
      if (unknown && !fuse_unk_) add(*unk_);
      unknown = true;
    }
  });
  if (unknown) add(*unk_);
}

void Bpe::merge_few(std::vector<Memory::Symbol>& symbols) const {
  // `next` holds the rank of the pair that begins here; -1 (kEnd) if none.
  uint64_t found[kFew];
  const size_t size = symbols.size();
  size_t count = size;
  const auto look = [&](size_t i) {
    found[i] =
        i + 1 < count ? merges_.find(pair_key(symbols[i].id, symbols[i + 1].id)) : FlatMap::kNone;
  };
  for (size_t i = 0; i < count; ++i) look(i);
  while (count > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < count; ++i) {
      if (found[i] >> 32 < found[best] >> 32) best = i;
    }
    if (found[best] == FlatMap::kNone) break;
    symbols[best].id = merged_id(found[best]);
    --count;
    for (size_t i = best + 1; i < count; ++i) {
      symbols[i] = symbols[i + 1];
      found[i] = found[i + 1];
    }
    look(best);
    if (best > 0) look(best - 1);
  }
  symbols.resize(count);
}

void Bpe::merge(Memory& memory) const {
  std::vector<Memory::Symbol>& symbols = memory.symbols_;
  std::vector<uint64_t>& heap = memory.heap_;
  const auto size = static_cast<uint32_t>(symbols.size());
  const auto find = [&](uint32_t left) {
    const uint32_t right = symbols[left].next;
    return right == kEnd ? FlatMap::kNone
                         : merges_.find(pair_key(symbols[left].id, symbols[right].id));
  };
  for (uint32_t i = 0; i < size; ++i) {
    symbols[i].previous = i == 0 ? kEnd : i - 1;
    symbols[i].next = i + 1 == size ? kEnd : i + 1;
  }
  // Rank, then position: the least is the best pair, leftmost first. Pairs that no longer exist
  // stay in the heap and are skipped.
  heap.clear();
  for (uint32_t i = 0; i < size; ++i) {
    const uint64_t merge = find(i);
    if (merge != FlatMap::kNone) heap.push_back((merge & ~uint64_t{0xFFFFFFFF}) | i);
  }
  std::make_heap(heap.begin(), heap.end(), std::greater<>());
  const auto push = [&](uint32_t left) {
    const uint64_t merge = find(left);
    if (merge == FlatMap::kNone) return;
    heap.push_back((merge & ~uint64_t{0xFFFFFFFF}) | left);
    std::push_heap(heap.begin(), heap.end(), std::greater<>());
  };
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), std::greater<>());
    const uint64_t top = heap.back();
    heap.pop_back();
    const auto left = static_cast<uint32_t>(top & 0xFFFFFFFFU);
    if (symbols[left].id < 0) continue;
    const uint64_t merge = find(left);
    if (merge == FlatMap::kNone || merge >> 32 != top >> 32) continue;
    const uint32_t right = symbols[left].next;
    symbols[left].id = merged_id(merge);
    symbols[left].next = symbols[right].next;
    symbols[right].id = -1;
    if (symbols[left].next != kEnd) symbols[symbols[left].next].previous = left;
    if (symbols[left].previous != kEnd) push(symbols[left].previous);
    push(left);
  }
}

}  // namespace ram
