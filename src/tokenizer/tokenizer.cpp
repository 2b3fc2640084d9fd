// The pipeline: added tokens, normalizer, normalized added tokens, pre-tokenizer, merges, prefix
// and suffix; and decoding.
#include "ram/tokenizer.h"

#include <algorithm>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/json.h"
#include "ram/json_tree.h"
#include "ram/utf8.h"

#include "added_tokens.h"
#include "bpe.h"
#include "decoder.h"
#include "json.h"
#include "normalizer.h"
#include "pattern.h"
#include "post_processor.h"
#include "pre_tokenizer.h"

namespace ram {
namespace {

// Two and four times the largest known values: a file that is not a tokenizer is not read to its
// end.
// @source Gemma 3's tokenizer.json: 33 MB, 2.1 million values
constexpr JsonLimits kTokenizerLimits = {.bytes = int64_t{64} << 20, .values = int64_t{1} << 23};
// A character has at most four bytes; more ids are held back only where U+FFFD follows U+FFFD.
constexpr size_t kMostHeldIds = 64;

}  // namespace

struct Tokenizer::Parts {
  Bpe bpe;
  Normalizer normalizer;
  AddedTokens added;
  PreTokenizer pre_tokenizer;
  std::optional<TokenDecoder> decoder;
  Surroundings around;

  void encode_plain(std::string_view text, bool at_start, MatchScratch& scratch,
                    Bpe::Memory& memory, std::vector<TokenId>& out) const;
};

Tokenizer::Tokenizer(std::unique_ptr<const Parts> parts) : parts_(std::move(parts)) {}
Tokenizer::Tokenizer(Tokenizer&& other) noexcept = default;
Tokenizer& Tokenizer::operator=(Tokenizer&& other) noexcept = default;
Tokenizer::~Tokenizer() = default;

Tokenizer Tokenizer::open(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "tokenizer.json";
  return parse(read_text_file(path, kTokenizerLimits.bytes), path.string());
}

Tokenizer Tokenizer::parse(std::string_view json, const std::string& file) {
  // Large: it must be freed without an allocation if the parts below run out of memory.
  const JsonTree tree(parse_json(json, file, kTokenizerLimits));
  const Json& document = *tree;
  const Node root(document, file);
  if (!document.is_object()) root.corrupt("not a JSON object");
  if (const auto version = root.optional_text("version"); version && *version != "1.0") {
    root.unsupported("version " + shown(*version), "only 1.0 is");
  }
  auto parts = std::make_unique<Parts>(Parts{.bpe = Bpe::parse(root.at("model")),
                                             .normalizer = {},
                                             .added = {},
                                             .pre_tokenizer = {},
                                             .decoder = std::nullopt,
                                             .around = {}});
  if (root.has("normalizer")) parts->normalizer = Normalizer::parse(root.at("normalizer"));
  if (root.has("pre_tokenizer")) {
    parts->pre_tokenizer = PreTokenizer::parse(root.at("pre_tokenizer"));
  }
  if (root.has("decoder")) parts->decoder = TokenDecoder::parse(root.at("decoder"));
  if (root.has("post_processor")) {
    parts->around = parse_post_processor(root.at("post_processor"));
  }
  parts->added = AddedTokens::parse(root, parts->bpe, parts->normalizer);
  return Tokenizer(std::move(parts));
}

void Tokenizer::Parts::encode_plain(std::string_view text, bool at_start, MatchScratch& scratch,
                                    Bpe::Memory& memory, std::vector<TokenId>& out) const {
  const auto encode_normalized = [&](std::string_view normal, bool starts) {
    added.cut(normal, true, [&](TokenId id, size_t start, size_t end) {
      if (id >= 0) {
        out.push_back(id);
        return;
      }
      pre_tokenizer.pieces(normal.substr(start, end - start), starts && start == 0, scratch,
                           [&](std::string_view piece) { bpe.encode(piece, memory, out); });
    });
  };
  if (normalizer.empty()) {
    encode_normalized(text, at_start);
    return;
  }
  std::string normal(text);
  normalizer.apply(normal, scratch, at_start);
  encode_normalized(normal, at_start);
}

std::vector<TokenId> Tokenizer::encode(std::string_view text, Specials specials) const {
  std::vector<TokenId> out;
  if (specials == Specials::kAdd) out = parts_->around.prefix;
  std::string repaired;
  if (well_formed_utf8(text) < text.size()) {
    repaired = replace_ill_formed_utf8(text);
    text = repaired;
  }
  out.reserve(out.size() + text.size() / 4 + 8);
  MatchScratch scratch(Growth::of_text(text.size()));
  Bpe::Memory memory(text.size());
  parts_->added.cut(text, false, [&](TokenId id, size_t start, size_t end) {
    if (id >= 0) {
      out.push_back(id);
    } else {
      parts_->encode_plain(text.substr(start, end - start), start == 0, scratch, memory, out);
    }
  });
  if (specials == Specials::kAdd) {
    out.insert(out.end(), parts_->around.suffix.begin(), parts_->around.suffix.end());
  }
  return out;
}

std::string Tokenizer::decode(std::span<const TokenId> ids, bool skip_special) const {
  std::vector<std::string> tokens;
  tokens.reserve(ids.size());
  const Growth growth = Growth::of_ids(ids.size());
  size_t bytes = 0;
  const auto& added = parts_->added.by_id();
  for (const TokenId id : ids) {
    const auto found = added.find(id);
    const std::string* token =
        found != added.end() ? &found->second.form : parts_->bpe.token_of(id);
    if (token == nullptr) continue;
    if (skip_special && parts_->added.is_special(*token)) continue;
    bytes += token->size() + 1;
    growth.reach(bytes);
    tokens.push_back(*token);
  }
  if (parts_->decoder) return parts_->decoder->text(std::move(tokens));
  std::string text;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i > 0) text += ' ';
    text += tokens[i];
  }
  return text;
}

const std::vector<TokenId>& Tokenizer::prefix_ids() const {
  return parts_->around.prefix;
}

const std::vector<TokenId>& Tokenizer::suffix_ids() const {
  return parts_->around.suffix;
}

int64_t Tokenizer::vocabulary_size() const {
  int64_t size = parts_->bpe.size();
  for (const auto& [id, token] : parts_->added.by_id()) {
    if (!parts_->bpe.id_of(token.content)) ++size;
  }
  return size;
}

TokenId Tokenizer::id_end() const {
  const auto& added = parts_->added.by_id();
  return std::max(parts_->bpe.id_end(), added.empty() ? 0 : added.rbegin()->first + 1);
}

std::optional<TokenId> Tokenizer::id_of(std::string_view token) const {
  const std::optional<TokenId> id = parts_->added.id_of(token);
  return id ? id : parts_->bpe.id_of(token);
}

std::optional<std::string> Tokenizer::token_of(TokenId id) const {
  const auto& added = parts_->added.by_id();
  if (const auto found = added.find(id); found != added.end()) return found->second.content;
  const std::string* token = parts_->bpe.token_of(id);
  if (token == nullptr) return std::nullopt;
  return *token;
}

bool Tokenizer::is_special(TokenId id) const {
  const std::optional<std::string> token = token_of(id);
  return token && parts_->added.is_special(*token);
}

std::string TextStream::push(TokenId id) {
  ids_.push_back(id);
  return take(ids_.size() - shown_ids_ >= kMostHeldIds);
}

std::string TextStream::finish() {
  std::string rest = take(true);
  ids_.clear();
  shown_.clear();
  shown_ids_ = 0;
  return rest;
}

// The first token may be decoded differently from the following ones (a space is stripped), so the
// ids of the last text shown are kept as context.
std::string TextStream::take(bool all) {
  const std::string text = tokenizer_.decode(ids_, skip_special_);
  if (text.size() <= shown_.size() && !all) return {};
  if (!all && text.ends_with("\xEF\xBF\xBD")) return {};
  size_t same = 0;
  while (same < shown_.size() && same < text.size() && shown_[same] == text[same]) ++same;
  std::string shown = text.substr(same);
  ids_.erase(ids_.begin(), ids_.begin() + static_cast<ptrdiff_t>(shown_ids_));
  shown_ids_ = ids_.size();
  shown_ = tokenizer_.decode(ids_, skip_special_);
  return shown;
}

}  // namespace ram
