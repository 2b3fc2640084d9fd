// Text to ids and back, from tokenizer.json alone, with the ids that Hugging Face `tokenizers`
// gives.
//
// Byte-level and SentencePiece-style BPE with every normalizer, pre-tokenizer, decoder and
// post-processor that language models use; docs/formats/tokenizer.md describes what is supported.
// Unsupported components are refused by name when the file is opened.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace ram {

using TokenId = int32_t;

/// Whether to add the post-processor's ids (beginning or end of text).
enum class Specials : uint8_t { kNone, kAdd };

/// Immutable: every const function may be called from several threads at once.
class Tokenizer {
 public:
  /// Reads `folder`/tokenizer.json; nothing else is needed.
  /// @throws Error{kMissing} the file does not exist; and as parse.
  static Tokenizer open(const std::filesystem::path& folder);

  /// @param json tokenizer.json's text.
  /// @param file named in messages.
  /// @throws Error{kCorrupt} not JSON, or not what the format says; {kUnsupported} an unsupported
  ///         component (names it and the supported ones).
  /// @cost   O(size of the text); about 15 MB and 0.2 s for a vocabulary of 150,000.
  static Tokenizer parse(std::string_view json, const std::string& file);

  Tokenizer(Tokenizer&& other) noexcept;
  Tokenizer& operator=(Tokenizer&& other) noexcept;
  ~Tokenizer();

  /// @param text taken as UTF-8; each ill-formed sequence counts as U+FFFD, as in Python's
  ///         bytes.decode(errors="replace").
  /// @param specials kAdd surrounds the ids with prefix_ids() and suffix_ids(). Special tokens that
  ///         are spelled out in the text become their ids in both cases.
  /// @throws Error{kUnsupported} a pattern of the file needs more steps to match than for any real
  ///         text (only patterns that backtrack without bound), or the file's steps expand the text
  ///         more than real ones do (32 bytes per byte); {kCorrupt} a character that is not in the
  ///         vocabulary, if unk_token is not either.
  /// @cost at worst O(n log n) time, for one unbroken piece of length n; memory a few times n.
  std::vector<TokenId> encode(std::string_view text, Specials specials) const;

  /// Ids without a token are skipped, as in `tokenizers`. The result is always valid UTF-8: bytes
  /// that form no character become U+FFFD.
  /// @throws Error{kUnsupported} the tokens, or the file's steps, give more than 1 KiB per id.
  std::string decode(std::span<const TokenId> ids, bool skip_special) const;

  /// What the post-processor puts before and after a text; often one BOS and nothing.
  const std::vector<TokenId>& prefix_ids() const;
  const std::vector<TokenId>& suffix_ids() const;

  /// @return the number of tokens, added ones included.
  int64_t vocabulary_size() const;
  /// @return one more than the largest id: the least size of a model's vocabulary.
  TokenId id_end() const;
  /// @return the id of a token by its text as spelled in the file ("<s>", "Ġthe").
  std::optional<TokenId> id_of(std::string_view token) const;
  /// @return the text of a token as spelled in the file; nothing for an id without a token.
  std::optional<std::string> token_of(TokenId id) const;
  /// @return whether the file marks this token as special.
  bool is_special(TokenId id) const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

/// Turns ids into text incrementally. Its results, joined, are decode() of all ids: a character
/// whose bytes are spread over tokens appears when it is complete.
class TextStream {
 public:
  /// @param tokenizer must outlive the stream.
  TextStream(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  /// @return text that can be shown now; empty while a character is incomplete. @cost that of
  ///         decoding a few ids.
  std::string push(TokenId id);
  /// @return the rest: U+FFFD for bytes that form no character.
  std::string finish();

 private:
  std::string take(bool all);

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<TokenId> ids_;  ///< context, then ids that are not shown yet
  size_t shown_ids_ = 0;      ///< how many of them are context
  std::string shown_;         ///< their text
};

}  // namespace ram
