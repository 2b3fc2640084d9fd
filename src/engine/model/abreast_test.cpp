// Several decoders fed together: no result depends on the other decoders.
#include <algorithm>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/engine.h"
#include "ram/error.h"

#include "support/model_logits.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::kLittleMemory;
using testing::some_rows;

constexpr int64_t kTokens = 12;

class Abreast : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    spec_.model_type = GetParam();
    if (spec_.model_type == "qwen3_moe") spec_.dense_layers = {1};
    testing::write_tiny_model(folder_.path(), spec_);
    rows_ = some_rows(9, kTokens, spec_.vocab);
  }

  LanguageModel open(int threads, int64_t memory = 0) const {
    return {Checkpoint::open(folder_.path().string()),
            {.threads = threads, .memory_bytes = memory}};
  }

  /// Logits of rows [first, last) after each token, fed together.
  std::vector<std::vector<float>> fed(LanguageModel& model, size_t first, size_t last) const {
    std::vector<Decoder> decoders;
    for (size_t row = first; row < last; ++row) decoders.emplace_back(model, kTokens);
    std::vector<std::vector<float>> logits(last - first);
    for (int64_t at = 0; at < kTokens; ++at) {
      std::vector<int32_t> ids;
      for (size_t row = first; row < last; ++row) ids.push_back(rows_[row][at]);
      Decoder::feed_each(decoders, ids);
      for (size_t i = 0; i < decoders.size(); ++i) {
        const auto found = decoders[i].logits();
        logits[i].insert(logits[i].end(), found.begin(), found.end());
      }
    }
    return logits;
  }

  testing::TempFolder folder_;
  testing::TinyModel spec_;
  std::vector<TokenRow> rows_;
};

INSTANTIATE_TEST_SUITE_P(Models, Abreast,
                         ::testing::Values("llama", "qwen2", "qwen3_moe", "qwen2_moe", "mixtral"));

TEST_P(Abreast, ResultDoesNotDependOnOtherDecoders) {
  LanguageModel model = open(2);
  const auto together = fed(model, 0, rows_.size());
  for (const size_t size : {1U, 2U, 4U, 5U}) {
    for (size_t first = 0; first < rows_.size(); first += size) {
      const size_t last = std::min(rows_.size(), first + size);
      const auto some = fed(model, first, last);
      for (size_t row = first; row < last; ++row) {
        EXPECT_EQ(some[row - first], together[row]) << "row " << row << " of " << size;
      }
    }
  }
}

TEST_P(Abreast, GivesTheSameBitsWhateverThreadsAndMemory) {
  LanguageModel model = open(1);
  const auto expected = fed(model, 0, rows_.size());
  LanguageModel threads = open(5);
  EXPECT_EQ(fed(threads, 0, rows_.size()), expected);
  LanguageModel little = open(2, kLittleMemory);
  EXPECT_EQ(fed(little, 0, rows_.size()), expected);
  EXPECT_EQ(fed(little, 3, 5), std::vector(expected.begin() + 3, expected.begin() + 5));
}

TEST_P(Abreast, GivesWhatADecoderByItselfDoesButForRounding) {
  LanguageModel model = open(2);
  const auto together = fed(model, 0, rows_.size());
  for (size_t row = 0; row < rows_.size(); ++row) {
    Decoder decoder(model, kTokens);
    for (int64_t at = 0; at < kTokens; ++at) {
      const auto logits = decoder.feed(std::span(rows_[row]).subspan(at, 1));
      for (size_t i = 0; i < logits.size(); ++i) {
        ASSERT_NEAR(together[row][at * logits.size() + i], logits[i], 2e-5) << row << " " << at;
      }
    }
  }
}

TEST_P(Abreast, LeavesTheModelAsItWasWhenAnIdIsRefused) {
  LanguageModel model = open(2);
  const auto expected = testing::logits_of(model, rows_);
  std::vector<Decoder> decoders;
  decoders.reserve(2);
  for (int i = 0; i < 2; ++i) decoders.emplace_back(model, kTokens);
  EXPECT_THROW(Decoder::feed_each(decoders, std::vector<int32_t>{1, 1 << 30}), Error);
  EXPECT_EQ(testing::logits_of(model, rows_), expected);
}

}  // namespace
}  // namespace ram
