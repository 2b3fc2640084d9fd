// Generates text with a model. Part of the module `eval`.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "ram/engine.h"
#include "ram/tokenizer.h"

namespace ram {

struct GeneratedText {
  std::string text;  ///< without the prompt
  std::vector<TokenId> ids;
  double seconds = 0;  ///< after the first token, which comes from the prompt's pass
};

/// Continues a prompt of at least one token.
/// @param show called with each new piece of text, in whole characters; may be empty.
/// @throws as sample_tokens, and what `show` throws.
GeneratedText generate_text(LanguageModel& model, const Tokenizer& tokenizer,
                            std::span<const TokenId> prompt, const SampleOptions& sampling,
                            const std::function<void(const std::string& piece)>& show = {});

}  // namespace ram
