// One closure per decoder, from a list of strings to a list of strings, joined at the end.
#include "decoder.h"

#include "ram/tokenizer.h"
#include "ram/utf8.h"

#include "byte_level.h"
#include "normalizer.h"

namespace ram {
namespace {

constexpr std::string_view kHandledDecoders =
    "supported: Sequence, ByteLevel, Replace, ByteFallback, Fuse, Strip, Metaspace, BPEDecoder";

using Tokens = std::vector<std::string>;

void byte_level(Tokens& tokens) {
  std::string bytes;
  for (const std::string& token : tokens) {
    const size_t before = bytes.size();
    bool all = true;
    for_each_character(token, [&](char32_t c, size_t, size_t) {
      const int byte = byte_level_byte(c);
      all = all && byte >= 0;
      bytes += static_cast<char>(byte);
    });
    if (all) continue;
    bytes.resize(before);  // an added token, unchanged
    bytes += token;
  }
  tokens = {replace_ill_formed_utf8(bytes)};
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// @return the byte of "<0xE2>", -1 for any other token.
int fallback_byte(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token[5] != '>') return -1;
  const int high = hex_digit(token[3]);
  const int low = hex_digit(token[4]);
  return high < 0 || low < 0 ? -1 : 16 * high + low;
}

// A run of bytes that as a whole is not valid UTF-8 becomes one U+FFFD per byte.
void byte_fallback(Tokens& tokens) {
  Tokens out;
  std::string bytes;
  const auto flush = [&] {
    if (bytes.empty()) return;
    if (well_formed_utf8(bytes) == bytes.size()) {
      out.push_back(bytes);
    } else {
      out.insert(out.end(), bytes.size(), "\xEF\xBF\xBD");
    }
    bytes.clear();
  };
  for (std::string& token : tokens) {
    const int byte = fallback_byte(token);
    if (byte >= 0) {
      bytes += static_cast<char>(byte);
      continue;
    }
    flush();
    out.push_back(std::move(token));
  }
  flush();
  tokens = std::move(out);
}

void fuse(Tokens& tokens) {
  std::string all;
  for (const std::string& token : tokens) all += token;
  tokens = {std::move(all)};
}

void strip(std::string_view content, int64_t start, int64_t stop, Tokens& tokens) {
  for (std::string& token : tokens) {
    std::string_view rest = token;
    for (int64_t i = 0; i < start && rest.starts_with(content); ++i) {
      rest.remove_prefix(content.size());
    }
    for (int64_t i = 0; i < stop && rest.ends_with(content); ++i) {
      rest.remove_suffix(content.size());
    }
    token = std::string(rest);
  }
}

void replace_all(std::string& text, std::string_view what, std::string_view by) {
  if (what.empty()) return;
  std::string out;
  size_t seen = 0;
  for (size_t at = 0; (at = text.find(what, seen)) != std::string::npos; seen = at + what.size()) {
    out.append(text, seen, at - seen);
    out += by;
  }
  out.append(text, seen);
  text = std::move(out);
}

void metaspace(std::string_view replacement, bool drop_first, Tokens& tokens) {
  for (size_t i = 0; i < tokens.size(); ++i) {
    replace_all(tokens[i], replacement, i == 0 && drop_first ? "" : " ");
  }
}

}  // namespace

TokenDecoder TokenDecoder::parse(const Node& node) {
  TokenDecoder decoder;
  decoder.add(node);
  return decoder;
}

void TokenDecoder::add(Node node) {
  const std::string type = node.type("decoder");
  check_steps(node, steps_.size());
  if (type == "Sequence") {
    for (const Json& inner : node.list("decoders")) add(Node(inner, node.where()));
  } else if (type == "ByteLevel") {
    steps_.emplace_back([](Tokens& tokens, MatchScratch&) { byte_level(tokens); });
  } else if (type == "ByteFallback") {
    steps_.emplace_back([](Tokens& tokens, MatchScratch&) { byte_fallback(tokens); });
  } else if (type == "Fuse") {
    steps_.emplace_back([](Tokens& tokens, MatchScratch&) { fuse(tokens); });
  } else if (type == "Strip") {
    std::string content;
    append_utf8(node.character("content"), content);
    const int64_t start = node.whole("start", int64_t{1} << 40);
    const int64_t stop = node.whole("stop", int64_t{1} << 40);
    steps_.emplace_back(
        [=](Tokens& tokens, MatchScratch&) { strip(content, start, stop, tokens); });
  } else if (type == "Replace") {
    steps_.emplace_back([pattern = parse_pattern(node.at("pattern")),
                         content = node.text("content")](Tokens& tokens, MatchScratch& scratch) {
      size_t all = 0;
      for (std::string& token : tokens) {
        std::string out;
        pattern.segments(token, scratch, [&](Segment segment) {
          out += segment.match
                     ? std::string_view(content)
                     : std::string_view(token).substr(segment.start, segment.end - segment.start);
          scratch.growth.reach(all + out.size());
        });
        all += out.size();
        token = std::move(out);
      }
    });
  } else if (type == "Metaspace") {
    std::string replacement;
    append_utf8(node.character("replacement"), replacement);
    const std::string scheme = node.optional_text("prepend_scheme").value_or("always");
    const bool drop_first = scheme != "never" && node.flag("add_prefix_space", true);
    steps_.emplace_back(
        [=](Tokens& tokens, MatchScratch&) { metaspace(replacement, drop_first, tokens); });
  } else if (type == "BPEDecoder") {
    steps_.emplace_back([suffix = node.text("suffix")](Tokens& tokens, MatchScratch&) {
      for (size_t i = 0; i < tokens.size(); ++i) {
        replace_all(tokens[i], suffix, i + 1 == tokens.size() ? "" : " ");
      }
    });
  } else {
    node.unsupported("decoder " + shown(type), kHandledDecoders);
  }
}

std::string TokenDecoder::text(std::vector<std::string> tokens) const {
  MatchScratch scratch(Growth::of_ids(tokens.size()));
  for (const Step& step : steps_) {
    step(tokens, scratch);
    size_t bytes = 0;
    for (const std::string& token : tokens) bytes += token.size();
    scratch.growth.made(bytes);
  }
  fuse(tokens);
  return std::move(tokens.front());
}

}  // namespace ram
