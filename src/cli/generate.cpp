// ram generate: text from a model, so that a person can see what a compressed one writes.
#include "ram/generate.h"

#include <exception>
#include <vector>

#include <fmt/format.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/machine.h"
#include "ram/random.h"
#include "ram/tokenizer.h"

#include "commands.h"
#include "engine_options.h"
#include "model.h"

namespace ram::cli {
namespace {

struct GenerateArguments {
  std::string model;
  std::string prompt;
  std::string precision;
  int64_t max_tokens = 256;
  double temperature = 1;
  int64_t from_nothing = 0;
};

/// Thrown when the reader of the text is gone.
struct ReaderGone : std::exception {};

/// A function that prints the pieces of a text as they are made; empty if a document has them at
/// the end.
std::function<void(const std::string&)> shown(const Common& common) {
  if (common.json) return {};
  return [&common](const std::string& piece) {
    print_data(common, piece);
    if (common.reader_gone) throw ReaderGone();
  };
}

Json text_json(const GeneratedText& text) {
  return {{"text", text.text}, {"ids", text.ids}, {"tokens", text.ids.size()}};
}

/// Notes that text may become longer than the model was made for.
void note_length(const Common& common, const Checkpoint& checkpoint, int64_t prompt_tokens,
                 int64_t max_tokens) {
  const int64_t longest = prompt_tokens + max_tokens;
  if (checkpoint.config.max_positions > 0 && longest > checkpoint.config.max_positions) {
    note(common,
         fmt::format("up to {} tokens with the prompt are more than the {} that {} was made for: "
                     "text beyond that may be nonsense (--max-tokens {} avoids it)",
                     longest, checkpoint.config.max_positions, checkpoint.name,
                     std::max<int64_t>(1, checkpoint.config.max_positions - prompt_tokens)));
  }
}

int generate_command(const Common& common, const GenerateArguments& options) {
  if (options.prompt.empty() == (options.from_nothing == 0)) {
    fail(Code::kUsage, "give either --prompt TEXT or --from-nothing N (ram generate --help)");
  }
  if (!(options.temperature >= 0)) {
    fail(Code::kUsage, "--temperature {}: use 0 (the likeliest token) or more",
         options.temperature);
  }
  LanguageModel model =
      open_language_model(options.model, engine_options(common, options.precision));
  const ModelConfig& config = model.checkpoint().config;
  const Tokenizer tokenizer = Tokenizer::open(model.checkpoint().folder);
  if (tokenizer.id_end() > config.vocab) {
    note(common,
         fmt::format("the tokenizer has ids up to {}, but the model's vocabulary ends at {}",
                     tokenizer.id_end() - 1, config.vocab - 1));
  }
  const bool nothing = options.from_nothing > 0;
  const std::vector<TokenId> prompt = nothing ? text_beginning(tokenizer, config)
                                              : tokenizer.encode(options.prompt, Specials::kAdd);
  if (prompt.empty()) {
    fail(Code::kUsage, "--prompt '{}': it has no tokens; give some text, or --from-nothing 1",
         options.prompt);
  }
  note_length(common, model.checkpoint(), std::ssize(prompt), options.max_tokens);
  (void)model.rows_at_once(
      std::min(std::ssize(prompt), Decoder::kBlock));  // refuses too little memory
  SampleOptions sampling{.max_tokens = options.max_tokens,
                         .temperature = options.temperature,
                         .stop_ids = config.eos_ids};
  std::vector<GeneratedText> texts;
  double seconds = 0;
  size_t tokens = 0;
  for (int64_t i = 0; i < std::max<int64_t>(1, options.from_nothing); ++i) {
    if (!common.json && nothing && i > 0) print_result(common, "\n---\n");
    if (!common.json && !nothing) print_data(common, options.prompt);
    sampling.seed = derived_seed(common.seed, static_cast<uint64_t>(i));
    try {
      texts.push_back(generate_text(model, tokenizer, prompt, sampling, shown(common)));
    } catch (const ReaderGone&) {
      return kDone;
    }
    // Layers are read as they are needed: a text made from two models' weights belongs to neither.
    model.checkpoint().check_unchanged();
    seconds += texts.back().seconds;
    tokens += texts.back().ids.size();
  }
  // The first token of each text is computed with its prompt.
  const double rate =
      seconds > 0 ? static_cast<double>(tokens - std::min(tokens, texts.size())) / seconds : 0;
  if (common.json) {
    Json list = Json::array();
    for (const GeneratedText& text : texts) list.push_back(text_json(text));
    const Json document = {{"model", model.checkpoint().name},
                           {"prompt_tokens", prompt.size()},
                           {"temperature", options.temperature},
                           {"seed", common.seed},
                           {"texts", std::move(list)},
                           {"tokens_per_second", rate},
                           {"peak_resident_bytes", peak_resident_bytes()}};
    print_document(common, document);
  } else {
    print_result(common, "\n");
    note(common, fmt::format("{} tokens, {:.1f} tokens/s", tokens, rate));
  }
  return kDone;
}

}  // namespace

Action setup_generate(Arguments app, const Common& common) {
  auto options = std::make_shared<GenerateArguments>();
  app.add_option("MODEL", options->model, "a model folder or id, quantized or not")
      .type_name("")
      .required();
  app.add_option("--prompt", options->prompt, "the text to continue").type_name("TEXT");
  app.add_option("--from-nothing", options->from_nothing,
                 "N texts written freely, each from the token that begins a text")
      .type_name("N")
      .range(1, 1000000);
  app.add_option("--max-tokens", options->max_tokens, "of each text (default 256)")
      .type_name("N")
      .range(1, int64_t{1} << 20);
  app.add_option("--temperature", options->temperature, "0: the likeliest token (default 1)")
      .type_name("T");
  add_precision_option(app, options->precision);
  return [options, &common] { return generate_command(common, *options); };
}

}  // namespace ram::cli
