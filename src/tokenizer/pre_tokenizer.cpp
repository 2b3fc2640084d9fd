// One closure per pre-tokenizer; each passes its pieces to the next immediately.
#include "pre_tokenizer.h"

#include <fmt/format.h>

#include "ram/utf8.h"

#include "byte_level.h"
#include "normalizer.h"
#include "unicode.h"

namespace ram {
namespace {

constexpr std::string_view kHandledPreTokenizers =
    "supported: Sequence, Split, ByteLevel, Metaspace, Digits, Punctuation, Whitespace, "
    "WhitespaceSplit, CharDelimiterSplit, BertPreTokenizer, FixedLength";

constexpr std::string_view kByteLevelPattern =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";

SplitBehavior parse_behavior(const Node& node) {
  const std::string name = node.text("behavior");
  if (name == "Removed") return SplitBehavior::kRemoved;
  if (name == "Isolated") return SplitBehavior::kIsolated;
  if (name == "MergedWithPrevious") return SplitBehavior::kMergedWithPrevious;
  if (name == "MergedWithNext") return SplitBehavior::kMergedWithNext;
  if (name == "Contiguous") return SplitBehavior::kContiguous;
  node.corrupt("behavior " + shown(name) +
               ": use Removed, Isolated, MergedWithPrevious, MergedWithNext or Contiguous");
}

}  // namespace

PreTokenizer PreTokenizer::parse(const Node& node) {
  PreTokenizer pre_tokenizer;
  pre_tokenizer.add(node);
  return pre_tokenizer;
}

void PreTokenizer::add_byte_level(const Node& node) {
  const bool prefix = node.flag("add_prefix_space");
  node.flag("trim_offsets");
  std::optional<Pattern> pattern;
  if (node.flag("use_regex", true)) pattern = Pattern::regex(kByteLevelPattern, node.where());
  steps_.emplace_back([prefix, pattern](std::string_view text, bool at_start, MatchScratch& scratch,
                                        const NextFn& next) {
    std::string spaced;
    if (prefix && !text.starts_with(' ')) {
      spaced = " ";
      spaced += text;
      text = spaced;
    }
    std::string piece;
    const auto emit = [&](size_t start, size_t end) {
      piece.clear();
      append_byte_level(text.substr(start, end - start), piece);
      next(piece, at_start && start == 0);
    };
    if (pattern) {
      split(text, *pattern, false, SplitBehavior::kIsolated, scratch, emit);
    } else {
      emit(0, text.size());
    }
  });
}

void PreTokenizer::add_metaspace(const Node& node) {
  const char32_t character = node.character("replacement");
  std::string replacement;
  append_utf8(character, replacement);
  std::string scheme = node.optional_text("prepend_scheme").value_or("always");
  if (scheme != "always" && scheme != "first" && scheme != "never") {
    node.corrupt("prepend_scheme " + shown(scheme) + ": use always, first or never");
  }
  if (!node.flag("add_prefix_space", true)) {
    if (node.has("prepend_scheme") && scheme != "never") {
      node.corrupt("add_prefix_space does not fit prepend_scheme");
    }
    scheme = "never";
  }
  const bool cut = node.flag("split", true);
  steps_.emplace_back(
      [=, pattern = Pattern::character(character)](std::string_view text, bool at_start,
                                                   MatchScratch& scratch, const NextFn& next) {
        std::string out;
        out.reserve(text.size() + text.size() / 2);
        if (scheme == "always" || (scheme == "first" && at_start)) {
          if (!text.starts_with(' ') && !text.starts_with(replacement)) out = replacement;
        }
        for (const char c : text) {
          if (c == ' ') {
            out += replacement;
          } else {
            out += c;
          }
        }
        if (!cut) {
          next(out, at_start);
          return;
        }
        const std::string_view whole = out;
        split(whole, pattern, false, SplitBehavior::kMergedWithNext, scratch,
              [&](size_t start, size_t end) {
                next(whole.substr(start, end - start), at_start && start == 0);
              });
      });
}

void PreTokenizer::add(Node node) {
  const std::string type = node.type("pre_tokenizer");
  check_steps(node, steps_.size());
  const auto add_split = [this](const Pattern& pattern, bool invert, SplitBehavior behavior) {
    steps_.emplace_back(
        [=](std::string_view text, bool at_start, MatchScratch& scratch, const NextFn& next) {
          split(text, pattern, invert, behavior, scratch, [&](size_t start, size_t end) {
            next(text.substr(start, end - start), at_start && start == 0);
          });
        });
  };
  if (type == "Sequence") {
    for (const Json& inner : node.list("pretokenizers")) add(Node(inner, node.where()));
  } else if (type == "Split") {
    add_split(parse_pattern(node.at("pattern")), node.flag("invert"), parse_behavior(node));
  } else if (type == "ByteLevel") {
    add_byte_level(node);
  } else if (type == "Metaspace") {
    add_metaspace(node);
  } else if (type == "Digits") {
    add_split(
        Pattern::characters(is_numeric), false,
        node.flag("individual_digits") ? SplitBehavior::kIsolated : SplitBehavior::kContiguous);
  } else if (type == "Punctuation") {
    add_split(Pattern::characters(is_punctuation), false,
              node.has("behavior") ? parse_behavior(node) : SplitBehavior::kIsolated);
  } else if (type == "WhitespaceSplit") {
    add_split(Pattern::characters(is_whitespace), false, SplitBehavior::kRemoved);
  } else if (type == "CharDelimiterSplit") {
    add_split(Pattern::character(node.character("delimiter")), false, SplitBehavior::kRemoved);
  } else if (type == "BertPreTokenizer") {
    add_split(Pattern::characters(is_whitespace), false, SplitBehavior::kRemoved);
    add_split(Pattern::characters(is_punctuation), false, SplitBehavior::kIsolated);
  } else if (type == "Whitespace") {
    // \w+|[^\w\s]+: runs of word characters, and runs of characters that are neither word nor
    // space.
    add_split(Pattern::characters(is_whitespace), false, SplitBehavior::kRemoved);
    add_split(Pattern::characters(is_word), false, SplitBehavior::kContiguous);
  } else if (type == "FixedLength") {
    const int64_t length = node.has("length") ? node.whole("length", int64_t{1} << 40) : 5;
    if (length == 0) node.corrupt("\"length\" is 0");
    steps_.emplace_back(
        [length](std::string_view text, bool at_start, MatchScratch&, const NextFn& next) {
          size_t start = 0;
          int64_t count = 0;
          for_each_character(text, [&](char32_t, size_t, size_t end) {
            if (++count < length && end < text.size()) return;
            next(text.substr(start, end - start), at_start && start == 0);
            start = end;
            count = 0;
          });
        });
  } else {
    node.unsupported("pre_tokenizer " + shown(type), kHandledPreTokenizers);
  }
}

void PreTokenizer::pieces(std::string_view text, bool at_start, MatchScratch& scratch,
                          const PieceFn& visit) const {
  if (!text.empty()) run(0, text, at_start, scratch, visit);
}

void PreTokenizer::run(size_t step, std::string_view text, bool at_start, MatchScratch& scratch,
                       const PieceFn& visit) const {
  scratch.growth.made(text.size());
  if (step == steps_.size()) {
    visit(text);
    return;
  }
  steps_[step](text, at_start, scratch, [&](std::string_view piece, bool piece_at_start) {
    run(step + 1, piece, piece_at_start, scratch, visit);
  });
}

}  // namespace ram
