// Generated ids as text.
#include "ram/generate.h"

#include <chrono>

namespace ram {

GeneratedText generate_text(LanguageModel& model, const Tokenizer& tokenizer,
                            std::span<const TokenId> prompt, const SampleOptions& sampling,
                            const std::function<void(const std::string& piece)>& show) {
  using Clock = std::chrono::steady_clock;
  const auto since = [](Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  Decoder decoder(model, std::ssize(prompt) + sampling.max_tokens);
  TextStream stream(tokenizer, /*skip_special=*/true);
  GeneratedText text;
  const auto start = Clock::now();
  const auto add = [&](const std::string& piece) {
    text.text += piece;
    if (show && !piece.empty()) show(piece);
  };
  text.ids = sample_tokens(decoder, prompt, sampling, [&](int32_t id) {
    if (text.text.empty() && text.seconds == 0) {
      text.seconds = since(start);  // the prompt's share
    }
    add(stream.push(id));
  });
  add(stream.finish());
  text.seconds = since(start) - text.seconds;
  return text;
}

}  // namespace ram
