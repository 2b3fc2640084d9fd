// One step per normalizer, as closures: they are few, and called once per stretch of text.
#include "normalizer.h"

#include "ram/utf8.h"

#include "byte_level.h"
#include "unicode.h"

namespace ram {
namespace {

constexpr std::string_view kHandledNormalizers =
    "supported: Sequence, Prepend, Replace, NFC, NFD, NFKC, NFKD, Lowercase, Strip, StripAccents, "
    "Nmt, ByteLevel";

void replace(const Pattern& pattern, const std::string& content, std::string& text,
             MatchScratch& scratch) {
  std::string out;
  out.reserve(text.size());
  pattern.segments(text, scratch, [&](Segment segment) {
    if (segment.match) {
      out += content;
    } else {
      out.append(text, segment.start, segment.end - segment.start);
    }
    scratch.growth.reach(out.size());
  });
  text = std::move(out);
}

void strip_text(bool left, bool right, std::string& text, bool& at_start) {
  size_t start = 0;
  size_t end = text.size();
  while (left && start < end && is_whitespace(utf8_code_point(text.data() + start))) {
    start += utf8_length(text[start]);
  }
  while (right && end > start) {
    const size_t previous = utf8_previous(text, end);
    if (!is_whitespace(utf8_code_point(text.data() + previous))) break;
    end = previous;
  }
  if (start > 0) at_start = false;
  text = text.substr(start, end - start);
}

template <typename Keep>
void filter(std::string& text, bool& at_start, Keep append) {
  std::string out;
  out.reserve(text.size());
  for_each_character(text, [&](char32_t c, size_t start, size_t) {
    append(c, out);
    if (start == 0 && out.empty()) at_start = false;
  });
  text = std::move(out);
}

void append_nmt(char32_t c, std::string& out) {
  const auto within = [c](char32_t first, char32_t last) { return c >= first && c <= last; };
  if (within(0x1, 0x8) || c == 0xB || within(0xE, 0x1F) || c == 0x7F || c == 0x8F || c == 0x9F) {
    return;
  }
  const bool space = c == 0x9 || c == 0xA || c == 0xC || c == 0xD || c == 0x1680 ||
                     within(0x200B, 0x200F) || c == 0x2028 || c == 0x2029 || c == 0x2581 ||
                     c == 0xFEFF || c == 0xFFFD;
  append_utf8(space ? U' ' : c, out);
}

}  // namespace

Pattern parse_pattern(const Node& node) {
  if (node.has("String")) return Pattern::literal(node.text("String"));
  if (node.has("Regex")) return Pattern::regex(node.text("Regex"), node.where());
  node.corrupt("a pattern that is neither String nor Regex");
}

Normalizer Normalizer::parse(const Node& node) {
  Normalizer normalizer;
  normalizer.add(node);
  return normalizer;
}

void Normalizer::add(Node node) {
  const std::string type = node.type("normalizer");
  check_steps(node, steps_.size());
  if (type == "Sequence") {
    for (const Json& inner : node.list("normalizers")) add(Node(inner, node.where()));
  } else if (type == "Prepend") {
    steps_.emplace_back([text = node.text("prepend")](std::string& in, MatchScratch&, bool&) {
      if (!in.empty()) in.insert(0, text);
    });
  } else if (type == "Replace") {
    steps_.emplace_back(
        [pattern = parse_pattern(node.at("pattern")), content = node.text("content")](
            std::string& in, MatchScratch& scratch, bool&) {
          replace(pattern, content, in, scratch);
        });
  } else if (type == "NFC" || type == "NFD" || type == "NFKC" || type == "NFKD") {
    const NormalForm form = type == "NFC"    ? NormalForm::kNfc
                            : type == "NFD"  ? NormalForm::kNfd
                            : type == "NFKC" ? NormalForm::kNfkc
                                             : NormalForm::kNfkd;
    steps_.emplace_back(
        [form](std::string& in, MatchScratch&, bool&) { in = normalized(in, form); });
  } else if (type == "Lowercase") {
    steps_.emplace_back(
        [](std::string& in, MatchScratch&, bool& at_start) { filter(in, at_start, append_lower); });
  } else if (type == "Strip") {
    steps_.emplace_back([left = node.flag("strip_left"), right = node.flag("strip_right")](
                            std::string& in, MatchScratch&, bool& at_start) {
      strip_text(left, right, in, at_start);
    });
  } else if (type == "StripAccents") {
    steps_.emplace_back([](std::string& in, MatchScratch&, bool& at_start) {
      filter(in, at_start, [](char32_t c, std::string& out) {
        if (!is_combining_mark(c)) append_utf8(c, out);
      });
    });
  } else if (type == "Nmt") {
    steps_.emplace_back(
        [](std::string& in, MatchScratch&, bool& at_start) { filter(in, at_start, append_nmt); });
  } else if (type == "ByteLevel") {
    steps_.emplace_back([](std::string& in, MatchScratch&, bool&) {
      std::string out;
      append_byte_level(in, out);
      in = std::move(out);
    });
  } else {
    node.unsupported("normalizer " + shown(type), kHandledNormalizers);
  }
}

void Normalizer::apply(std::string& text, MatchScratch& scratch, bool& at_start) const {
  for (const Step& step : steps_) {
    step(text, scratch, at_start);
    scratch.growth.made(text.size());
  }
}

}  // namespace ram
