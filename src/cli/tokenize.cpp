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

// All of stdin. It may be a terminal at which nobody types: Ctrl-C ends the waiting.
std::string read_input(std::FILE* in) {
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
    } else if (errno != EINTR && errno != EAGAIN) {
      fail_errno(false, "cannot read", "stdin", errno);
    }
  }
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
  const std::string input = read_input(common.io.in);
  if (options.decode) {
    std::vector<TokenId> ids = parse_id_words(input, tokenizer);
    if (options.special) drop_surroundings(tokenizer, ids);
    const std::string text = tokenizer.decode(ids, false);
    print_data(common, common.json ? Json{{"text", text}}.dump() + "\n" : text);
    return kDone;
  }
  const std::vector<TokenId> ids =
      tokenizer.encode(input, options.special ? Specials::kAdd : Specials::kNone);
  if (common.json) {
    print_result(common, Json{{"ids", ids}}.dump() + "\n");
    return kDone;
  }
  fmt::memory_buffer line;
  for (size_t i = 0; i < ids.size(); ++i) {
    if (i > 0) line.push_back(' ');
    fmt::format_to(fmt::appender(line), "{}", ids[i]);
  }
  line.push_back('\n');
  print_result(common, std::string_view(line.data(), line.size()));
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
