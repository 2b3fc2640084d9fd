// ram tokenize: text on stdin to ids on stdout, and back. Needs only tokenizer.json.
#include <algorithm>

#include <fmt/format.h>

#include "ram/checkpoint.h"
#include "ram/error.h"
#include "ram/machine.h"
#include "ram/size.h"
#include "ram/token_ids.h"
#include "ram/tokenizer.h"

#include "commands.h"
#include "model.h"

namespace ram::cli {
namespace {

struct TokenizeArguments {
  std::string model;
  bool decode = false;
  bool special = false;
};

// Bytes of memory per byte of text, per byte of text without a split point, and per byte of ids.
// @source peak resident memory on 16 MiB by four tokenizers: 3.9 to 7.2 of prose and of numbers, 23
//         to 56 of bytes without a space, 14 to 36 of ids
constexpr int64_t kOfText = 10;
constexpr int64_t kOfPiece = 60;
constexpr int64_t kOfIds = 36;

int64_t memory_for_input(const Common& common) {
  const Size all =
      common.memory.empty() ? Size{.bytes = memory_bytes() / 2} : parse_size(common.memory);
  if (all.share > 0) fail(Code::kUsage, "--memory {}: use a size, as 8GiB", common.memory);
  return std::min(all.bytes, memory_limit_bytes());
}

/// Text without a space is one piece for most tokenizers, and merging a long piece takes much more
/// memory.
void check_pieces(std::string_view text, int64_t memory) {
  constexpr std::string_view kSpace = " \t\r\n";
  int64_t longest = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find_first_of(kSpace, begin), text.size());
    longest = std::max(longest, static_cast<int64_t>(end - begin));
    begin = end + 1;
  }
  if (kOfText * std::ssize(text) + kOfPiece * longest <= memory) return;
  fail(Code::kUsage,
       "stdin has {} without a space, too much for {} of memory: give more --memory, or split the "
       "text",
       format_bytes(longest), format_bytes(memory));
}

/// Prints ids in pieces: as one string they would take several times the memory of the text.
void print_ids(const Common& common, const std::vector<TokenId>& ids) {
  constexpr size_t kPiece = size_t{1} << 16;
  const char between = common.json ? ',' : ' ';
  fmt::memory_buffer line;
  if (common.json) line.append(std::string_view("{\"ids\":["));
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) line.push_back(between);
    fmt::format_to(fmt::appender(line), "{}", ids[i]);
    if (line.size() < kPiece) continue;
    print_data(common, std::string_view(line.data(), line.size()));
    line.clear();
  }
  line.append(std::string_view(common.json ? "]}\n" : "\n"));
  print_data(common, std::string_view(line.data(), line.size()));
}

int tokenize(const Common& common, const TokenizeArguments& options) {
  const Tokenizer tokenizer = Tokenizer::open(find_model(options.model));
  const int64_t memory = memory_for_input(common);
  const std::string input = read_input(common, memory / (options.decode ? kOfIds : kOfText));
  if (options.decode) {
    std::vector<TokenId> ids = parse_id_words(input, tokenizer);
    if (options.special) drop_template(tokenizer, ids);
    const std::string text = tokenizer.decode(ids, false);
    print_data(common, common.json ? Json{{"text", text}}.dump() + "\n" : text);
    return kDone;
  }
  check_pieces(input, memory);
  print_ids(common, tokenizer.encode(input, options.special ? Specials::kAdd : Specials::kNone));
  return kDone;
}

}  // namespace

Action setup_tokenize(Arguments app, const Common& common) {
  auto options = std::make_shared<TokenizeArguments>();
  app.add_option("MODEL", options->model, "folder or repository id; only tokenizer.json is read")
      .type_name("")
      .required();
  app.add_flag("--decode", options->decode, "ids on stdin to text on stdout");
  app.add_flag("--special", options->special,
               "add the special tokens of the template; with --decode, remove them");
  return [options, &common] { return tokenize(common, *options); };
}

}  // namespace ram::cli
