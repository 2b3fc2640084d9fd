// ram tokenize: text on stdin to ids on stdout, and back. Needs tokenizer.json and nothing else.

#include <fmt/format.h>

#include "ram/checkpoint.h"
#include "ram/token_ids.h"
#include "ram/tokenizer.h"

#include "commands.h"
#include "model.h"

namespace ram::cli {
namespace {

struct Options {
  std::string model;
  bool decode = false;
  bool special = false;
};

int tokenize(const Common& common, const Options& options) {
  const Tokenizer tokenizer = Tokenizer::open(find_model(options.model));
  const std::string input = read_input(common);
  if (options.decode) {
    std::vector<TokenId> ids = parse_id_words(input, tokenizer);
    if (options.special) drop_template(tokenizer, ids);
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
