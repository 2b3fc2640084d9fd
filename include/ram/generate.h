// Text that a model writes, as text. Part of the module `eval`.
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
  double seconds = 0;  ///< after the first token, which the prompt's pass gives
};

/// Continues a prompt of one token or more.
/// @param show called with each piece as it comes, whole characters; may be empty.
/// @throws as sample_tokens, and what `show` throws.
GeneratedText generate_text(LanguageModel& model, const Tokenizer& tokenizer,
                            std::span<const TokenId> prompt, const SampleOptions& sampling,
                            const std::function<void(const std::string& piece)>& show = {});

}  // namespace ram
