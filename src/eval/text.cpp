// From a text to rows of tokens: docs/evaluation.md, "The rows".
#include <algorithm>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/eval.h"
#include "ram/utf8.h"

#include "blank.h"

namespace ram {
namespace {

constexpr size_t kLinesLookedAt = 1000;

std::string join_lines(std::string_view content) {
  std::string joined;
  joined.reserve(content.size() + content.size() / 64);
  for (size_t begin = 0; begin < content.size();) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    const std::string_view line = content.substr(begin, end - begin);
    if (!is_blank(line)) {
      if (!joined.empty()) joined += "\n\n";
      joined += line;
    }
    begin = end + 1;
  }
  return joined;
}

void check_options(const RowOptions& options, int64_t prefix) {
  constexpr int64_t kLongest = int64_t{1} << 20;
  const int64_t least = options.bos == Bos::kEveryRow ? prefix + 2 : 2;
  if (options.length < least || options.length > kLongest) {
    fail(Code::kUsage, "--length {}: use a number of tokens from {} to {}", options.length, least,
         kLongest);
  }
  if (options.rows && *options.rows < 1) {
    fail(Code::kUsage, "--rows {}: use a number from 1, or all", *options.rows);
  }
}

std::vector<TokenId> encode(const Tokenizer& tokenizer, const Text& text, TextFormat format,
                            Bos bos) {
  const Specials specials = bos == Bos::kStart ? Specials::kAdd : Specials::kNone;
  if (format == TextFormat::kPlain) return tokenizer.encode(text.content, specials);
  return tokenizer.encode(join_lines(text.content), specials);
}

}  // namespace

std::string_view text_format_name(TextFormat format) {
  return format == TextFormat::kWikitext ? "wikitext" : "plain";
}

std::string_view bos_name(Bos bos) {
  switch (bos) {
    case Bos::kStart:
      return "start";
    case Bos::kEveryRow:
      return "every-row";
    case Bos::kNone:
      return "none";
  }
  return "";
}

std::optional<TextFormat> parse_text_format(std::string_view name) {
  for (const TextFormat format : {TextFormat::kWikitext, TextFormat::kPlain}) {
    if (text_format_name(format) == name) return format;
  }
  return std::nullopt;
}

std::optional<Bos> parse_bos(std::string_view name) {
  for (const Bos bos : {Bos::kStart, Bos::kEveryRow, Bos::kNone}) {
    if (bos_name(bos) == name) return bos;
  }
  return std::nullopt;
}

std::string_view precision_name(Precision precision) {
  return precision == Precision::kF32 ? "f32" : "bf16";
}

TextFormat detect_format(std::string_view content) {
  size_t begin = 0;
  for (size_t line = 0; line < kLinesLookedAt && begin < content.size(); ++line) {
    const size_t end = std::min(content.find('\n', begin), content.size());
    std::string_view text = content.substr(begin, end - begin);
    while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
    // " = Title = ": only WikiText begins a line with a blank and puts blanks around "=".
    if (text.size() > 5 && text.starts_with(" = ") && text.ends_with(" =")) {
      return TextFormat::kWikitext;
    }
    begin = end + 1;
  }
  return TextFormat::kPlain;
}

std::string TextRows::protocol() const {
  return fmt::format("{} length {} bos {}", text_format_name(format), length, bos_name(bos));
}

TextRows cut_rows(const Text& text, const Tokenizer& tokenizer, const RowOptions& options) {
  const std::vector<TokenId>& prefix = tokenizer.prefix_ids();
  check_options(options, std::ssize(prefix));
  TextRows rows;
  rows.text_sha256 = text.sha256;
  rows.notes = text.notes;
  rows.detected = !options.format.has_value();
  rows.format = options.format.value_or(detect_format(text.content));
  rows.bos = options.bos;
  rows.length = options.length;
  rows.prefix_tokens = std::ssize(prefix);
  const std::vector<TokenId> ids = encode(tokenizer, text, rows.format, options.bos);
  rows.text_tokens = std::ssize(ids);
  const int64_t before = options.bos == Bos::kEveryRow ? rows.prefix_tokens : 0;
  const int64_t step = options.length - before;
  rows.rows_total = rows.text_tokens / step;
  if (rows.rows_total == 0) {
    fail(Code::kCorrupt,
         "text {}: {} tokens, and a row takes {}: use --length {} or less, or a longer text",
         text.path, rows.text_tokens, step, rows.text_tokens + before);
  }
  rows.indices =
      draw_rows(rows.rows_total, std::min(options.rows.value_or(rows.rows_total), rows.rows_total),
                options.seed);
  for (const int64_t index : rows.indices) {
    TokenRow row;
    row.reserve(static_cast<size_t>(options.length));
    if (before > 0) row.assign(prefix.begin(), prefix.end());
    const auto first = ids.begin() + index * step;
    row.insert(row.end(), first, first + step);
    rows.rows.push_back(std::move(row));
  }
  return rows;
}

std::string excerpt(const Tokenizer& tokenizer, std::span<const TokenId> row, size_t width) {
  // A token is seldom less than a character; text that is not shown is not decoded.
  const std::string text = tokenizer.decode(row.first(std::min(row.size(), 2 * width)), false);
  std::string shown;
  size_t characters = 0;
  for (size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    size_t bytes = 1;
    while (at + bytes < text.size() && continues_utf8(text[at + bytes])) ++bytes;
    std::string piece = text.substr(at, bytes);
    if (byte == '\n') piece = "\\n";
    if (byte == '\t') piece = "\\t";
    if ((byte < 0x20 && byte != '\n' && byte != '\t') || byte == 0x7f) {
      piece = fmt::format("\\x{:02x}", byte);
    }
    // C1 control characters, which some terminals obey: U+0080 to U+009F.
    if (bytes == 2 && byte == 0xc2 && static_cast<unsigned char>(text[at + 1]) < 0xa0) {
      piece = fmt::format("\\x{:02x}", static_cast<unsigned char>(text[at + 1]));
    }
    const size_t taken = piece.front() == '\\' ? piece.size() : 1;
    if (characters + taken > width) return shown;
    characters += taken;
    shown += piece;
    at += bytes;
  }
  return shown;
}

}  // namespace ram
