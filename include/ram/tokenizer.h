// Text to ids and back, from tokenizer.json alone, with the ids that Hugging Face `tokenizers`
// gives.
//
// Byte-level and SentencePiece-style BPE with every normalizer, pre-tokenizer, decoder and
// post-processor that language models use; what is read and by which rules is in
// docs/formats/tokenizer.md. What is not handled is refused by name when the file is opened.
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

/// Whether the ids that the post-processor adds (beginning or end of text) are wanted.
enum class Specials : uint8_t { kNone, kAdd };

/// Read-only once it is made: every const function may be called from several threads at once.
class Tokenizer {
 public:
  /// Reads `folder`/tokenizer.json; nothing else is needed.
  /// @throws Error{kMissing} there is none; and as parse.
  static Tokenizer open(const std::filesystem::path& folder);

  /// @param json tokenizer.json's text.
  /// @param file named in messages.
  /// @throws Error{kCorrupt} not JSON, or not what the format says; {kUnsupported} a component that
  ///         is not handled (named, with those that are).
  /// @cost   O(size of the text); about 15 MB and 0.2 s for a vocabulary of 150,000.
  static Tokenizer parse(std::string_view json, const std::string& file);

  Tokenizer(Tokenizer&& other) noexcept;
  Tokenizer& operator=(Tokenizer&& other) noexcept;
  ~Tokenizer();

  /// @param text     taken as UTF-8; each ill-formed sequence counts as U+FFFD, as Python's
  ///                 bytes.decode(errors="replace") has it.
  /// @param specials kAdd surrounds the ids by prefix_ids() and suffix_ids(). Special tokens that
  ///                 are spelled out in the text become their ids either way.
  /// @throws Error{kUnsupported} a pattern of the file needs more than any real text does to match
  ///         (only patterns that backtrack without bound), or the file's steps make more of the
  ///         text than real ones do (32 bytes of one); {kCorrupt} a character that is not in the
  ///         vocabulary, nor is unk_token.
  /// @cost   O(n log n) time at worst, on one unbroken piece of length n; memory a few times n.
  std::vector<TokenId> encode(std::string_view text, Specials specials) const;

  /// Ids of no token are left out, as `tokenizers` does. Always valid UTF-8: bytes that make no
  /// character become U+FFFD.
  /// @throws Error{kUnsupported} the tokens, or the file's steps, make more than 1 KiB of an id.
  std::string decode(std::span<const TokenId> ids, bool skip_special) const;

  /// What the post-processor puts before and after a text; often one BOS and nothing.
  const std::vector<TokenId>& prefix_ids() const;
  const std::vector<TokenId>& suffix_ids() const;

  /// @return how many tokens there are, added ones included.
  int64_t vocabulary_size() const;
  /// @return one more than the largest id: what a model's vocabulary must have at least.
  TokenId id_end() const;
  /// @return the id of a token by its text as the file spells it ("<s>", "Ġthe").
  std::optional<TokenId> id_of(std::string_view token) const;
  /// @return the text of a token as the file spells it; nothing for an id of no token.
  std::optional<std::string> token_of(TokenId id) const;
  /// @return whether the file marks this token as special.
  bool is_special(TokenId id) const;

 private:
  struct Parts;
  explicit Tokenizer(std::unique_ptr<const Parts> parts);
  std::unique_ptr<const Parts> parts_;
};

/// Turns ids into text as they come. What it returns, joined, is decode() of all of them: a
/// character whose bytes are spread over tokens appears when it is whole.
class TextStream {
 public:
  /// @param tokenizer must outlive the stream.
  TextStream(const Tokenizer& tokenizer, bool skip_special)
      : tokenizer_(tokenizer), skip_special_(skip_special) {}

  /// @return text that can be shown now; empty while a character is not whole. @cost of decoding
  /// a few ids.
  std::string push(TokenId id);
  /// @return what is left: U+FFFD for bytes that make no character.
  std::string finish();

 private:
  std::string take(bool all);

  const Tokenizer& tokenizer_;
  bool skip_special_;
  std::vector<TokenId> ids_;  ///< context, then what is not shown yet
  size_t shown_ids_ = 0;      ///< how many of them are context
  std::string shown_;         ///< their text
};

}  // namespace ram
