// ram tokenize: text on stdin to ids on stdout, and back. Needs tokenizer.json and nothing else.
#include <algorithm>
#include <cerrno>
#include <cstdio>

#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include "ram/cancellation.h"
#include "ram/checkpoint.h"
#include "ram/error.h"
#include "ram/machine.h"
#include "ram/size.h"
#include "ram/tokenizer.h"

#include "commands.h"
#include "model.h"
#include "token_ids.h"

namespace ram::cli {
namespace {

struct Options {
  std::string model;
  bool decode = false;
  bool special = false;
};

// Bytes of memory for a byte of text, for a byte of it that nothing cuts, and for a byte of ids.
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

/// A text without a space is one piece to most tokenizers, of which merging takes much more.
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
       "stdin has {} without a space, which is more than {} of memory is for: give more --memory, "
       "or cut the text",
       format_bytes(longest), format_bytes(memory));
}

// All of stdin. It may be a terminal at which nobody types: Ctrl-C ends the waiting.
// @throws Error{kUsage} it has more than `most` bytes, of which no more are read.
std::string read_input(std::FILE* in, int64_t most) {
  constexpr int kWaitMs = 200;
  std::string text;
  char buffer[1 << 16];
  pollfd waiting = {.fd = fileno(in), .events = POLLIN, .revents = 0};
  for (;;) {
    check_interrupted();
    const int ready = poll(&waiting, 1, kWaitMs);
    if (ready == 0 || (ready < 0 && errno == EINTR)) continue;
    const ssize_t count = read(waiting.fd, buffer, sizeof buffer);
    if (count == 0) return text;
    if (count > 0) {
      text.append(buffer, static_cast<size_t>(count));
      if (std::ssize(text) > most) {
        fail(Code::kUsage,
             "stdin has more than the {} that memory is for: give more --memory, or less at a time",
             format_bytes(most));
      }
    } else if (errno != EINTR && errno != EAGAIN) {
      fail_errno(false, "cannot read", "stdin", errno);
    }
  }
}

/// The ids of a long text would take several times the memory of the text if they were one line
/// before they are written.
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

/// Takes away what encoding with Specials::kAdd puts around a text, if it is there.
void drop_surroundings(const Tokenizer& tokenizer, std::vector<TokenId>& ids) {
  const std::vector<TokenId>& prefix = tokenizer.prefix_ids();
  const std::vector<TokenId>& suffix = tokenizer.suffix_ids();
  const auto length = [](const std::vector<TokenId>& some) {
    return static_cast<ptrdiff_t>(some.size());
  };
  if (ids.size() >= prefix.size() && std::equal(prefix.begin(), prefix.end(), ids.begin())) {
    ids.erase(ids.begin(), ids.begin() + length(prefix));
  }
  if (ids.size() >= suffix.size() &&
      std::equal(suffix.begin(), suffix.end(), ids.end() - length(suffix))) {
    ids.erase(ids.end() - length(suffix), ids.end());
  }
}

int tokenize(const Common& common, const Options& options) {
  const Tokenizer tokenizer = Tokenizer::open(find_model(options.model));
  const int64_t memory = memory_for_input(common);
  const std::string input = read_input(common.io.in, memory / (options.decode ? kOfIds : kOfText));
  if (options.decode) {
    std::vector<TokenId> ids = parse_id_words(input, tokenizer);
    if (options.special) drop_surroundings(tokenizer, ids);
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
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model, "folder or repository id; only tokenizer.json is read")
      .type_name("")
      .required();
  app.add_flag("--decode", options->decode, "ids on stdin to text on stdout");
  app.add_flag("--special", options->special,
               "add the special tokens of the template; with --decode, take them away");
  return [options, &common] { return tokenize(common, *options); };
}

}  // namespace ram::cli
