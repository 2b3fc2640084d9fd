// Options, messages and tables of the commands that score models on a text.
#include "evaluation.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/table.h"

#include "calibration.h"
#include "engine_options.h"

namespace ram::cli {
namespace {

std::string special_tokens(const TextRows& text) {
  if (text.bos == Bos::kNone) return "no special tokens";
  if (text.prefix_tokens == 0) return "no special tokens: the tokenizer's template adds none";
  return text.bos == Bos::kStart ? "special tokens before the whole text only"
                                 : "special tokens before every row";
}

}  // namespace

void add_text_options(Arguments app, TextArguments& arguments, bool required) {
  app.add_option("--text", arguments.text, "UTF-8 text to score")
      .type_name("FILE")
      .required(required);
  app.add_option("--length", arguments.length, "tokens per row (default 2048)").type_name("N");
  app.add_option("--rows", arguments.rows,
                 "how many rows, drawn with --seed (default all; 128 is the published protocol)")
      .type_name("N|all");
  app.add_option("--bos", arguments.bos, "where the tokenizer's own special tokens go")
      .type_name("start|every-row|none");
  app.add_option("--text-format", arguments.format,
                 "wikitext: non-blank lines, joined by two newlines (default: detected)")
      .type_name("wikitext|plain");
}

std::optional<int64_t> number_or_all(const char* option, const std::string& text) {
  if (text == "all") return std::nullopt;
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end || number < 1) {
    fail(Code::kUsage, "{} {}: use a number from 1, or all", option, text);
  }
  return number;
}

uint32_t check_seed(const Common& common, const char* what) {
  if (common.seed > std::numeric_limits<uint32_t>::max()) {
    fail(Code::kUsage, "--seed {}: {} are drawn with a seed from 0 to {}", common.seed, what,
         std::numeric_limits<uint32_t>::max());
  }
  return static_cast<uint32_t>(common.seed);
}

RowOptions row_options(const Common& common, const TextArguments& arguments) {
  const uint32_t seed = check_seed(common, "rows");
  check_text_size(common, "--text", arguments.text);
  const std::optional<Bos> bos = parse_bos(arguments.bos);
  if (!bos) fail(Code::kUsage, "--bos {}: use start, every-row or none", arguments.bos);
  const std::optional<TextFormat> format = parse_text_format(arguments.format);
  if (!format && !arguments.format.empty()) {
    fail(Code::kUsage, "--text-format {}: use wikitext or plain", arguments.format);
  }
  const RowOptions rows = {.length = arguments.length,
                           .rows = number_or_all("--rows", arguments.rows),
                           .seed = seed,
                           .bos = *bos,
                           .format = format};
  // Some commands build folders first: refuse an unreadable text before that.
  (void)InputFile(arguments.text);
  return rows;
}

std::vector<std::string> labels_of(std::vector<std::string> names,
                                   const std::vector<std::string>& typed) {
  const std::set<std::string> distinct(names.begin(), names.end());
  return distinct.size() == names.size() ? names : typed;
}

ScoringRequest scoring_request(const Common& common, const TextArguments& arguments,
                               const RowOptions& rows) {
  return {.text = arguments.text,
          .rows = rows,
          .seed = common.seed,
          .resources = fit_resources(common, /*runs_model=*/true)};
}

void note_text(const Common& common, const TextRows& text, const Perplexity& perplexity) {
  if (perplexity.max_positions > 0 && text.length > perplexity.max_positions) {
    note(common, fmt::format("rows of {0} tokens are longer than the {1} that {2} was made for, "
                             "and their ends count against it; use --length {1}",
                             text.length, perplexity.max_positions, perplexity.model.name));
  }
  for (const std::string& what : text.notes) note(common, what);
  if (!text.detected) return;
  note(common,
       text.format == TextFormat::kWikitext
           ? "the text looks like WikiText: its lines are joined by two newlines; --text-format "
             "plain leaves it unchanged"
           : "the text is used unchanged; --text-format wikitext joins its lines by two newlines");
}

std::string text_line(const TextArguments& arguments, const TextRows& text) {
  return wrapped(fmt::format("{}: {} of {} rows of {} tokens ({}, {})", arguments.text,
                             text.rows.size(), text.rows_total, text.length,
                             text_format_name(text.format), special_tokens(text)),
                 kTextWidth, 2);
}

std::string worst_table(std::span<const WorstRow> rows, const std::string& title) {
  Table table({{"row"}, {title}, {"text", Align::kLeft}});
  for (const WorstRow& row : rows) {
    table.add({std::to_string(row.row), four_digits(row.perplexity), row.excerpt});
  }
  return table.render(kTextWidth);
}

std::string four_digits(double value) {
  if (std::fabs(value) >= 1000) return fmt::format("{:.0f}", value);
  return fmt::format("{:.4g}", value);
}

}  // namespace ram::cli
