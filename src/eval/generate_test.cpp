#include "ram/generate.h"

#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace ram {
namespace {

TEST(Generate, ThePiecesAreTheTextAndTheTextIsThatOfTheIds) {
  const std::string folder = RAM_SOURCE_DIR "/models/demo";
  LanguageModel model(Checkpoint::open(folder), {.threads = 2, .memory_bytes = int64_t{1} << 30});
  const Tokenizer tokenizer = Tokenizer::open(folder);
  const std::vector<TokenId> prompt = tokenizer.encode("The", Specials::kAdd);
  const SampleOptions sampling{.max_tokens = 12, .temperature = 0};
  std::string pieces;
  const GeneratedText text = generate_text(model, tokenizer, prompt, sampling,
                                           [&](const std::string& piece) { pieces += piece; });
  EXPECT_EQ(text.ids.size(), 12U);
  EXPECT_FALSE(text.text.empty());
  EXPECT_EQ(pieces, text.text);
  EXPECT_EQ(text.text, tokenizer.decode(text.ids, true));
  EXPECT_EQ(generate_text(model, tokenizer, prompt, sampling).ids, text.ids);
}

}  // namespace
}  // namespace ram
