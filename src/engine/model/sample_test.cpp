#include <cmath>
#include <vector>

#include <gtest/gtest.h>

#include "ram/engine.h"
#include "ram/error.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

class Sampling : public ::testing::Test {
 protected:
  Sampling() : model_(make()) {}

  LanguageModel make() {
    testing::TinyModel spec;
    spec.edit = [](const std::string& name, std::vector<float>& values) {
      // Logits spread enough for the temperature to matter.
      if (name != "lm_head.weight") return;
      for (float& value : values) value *= 3;
    };
    testing::write_tiny_model(folder_.path(), spec);
    return {Checkpoint::open(folder_.path().string()), {.threads = 1}};
  }

  std::vector<int32_t> sample(const SampleOptions& options) {
    Decoder decoder(model_, 64);
    return sample_tokens(decoder, prompt_, options);
  }

  testing::TempFolder folder_;
  LanguageModel model_;
  const std::vector<int32_t> prompt_ = {1, 5, 9};
};

TEST_F(Sampling, GivesTheSameTextForTheSameSeed) {
  const auto a = sample({.max_tokens = 30, .seed = 7});
  EXPECT_EQ(a.size(), 30U);
  EXPECT_EQ(sample({.max_tokens = 30, .seed = 7}), a);
  EXPECT_NE(sample({.max_tokens = 30, .seed = 8}), a);
}

TEST_F(Sampling, WithoutTemperatureTakesTheLikeliest) {
  const auto ids = sample({.max_tokens = 5, .temperature = 0});
  Decoder decoder(model_, 64);
  auto logits = decoder.feed(prompt_);
  for (const int32_t id : ids) {
    for (const float logit : logits) EXPECT_LE(logit, logits[static_cast<size_t>(id)]);
    logits = decoder.feed({&id, 1});
  }
}

TEST_F(Sampling, EndsBeforeAStopId) {
  const auto ids = sample({.max_tokens = 40, .seed = 3});
  const auto shorter = sample({.max_tokens = 40, .seed = 3, .stop_ids = {ids[4]}});
  ASSERT_LE(shorter.size(), 4U);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), ids.begin()));
}

TEST_F(Sampling, DrawsAsOftenAsTheSoftmaxSays) {
  Decoder decoder(model_, 64);
  const auto logits = decoder.feed(prompt_);
  const std::vector<float> kept(logits.begin(), logits.end());
  const double temperature = 1.5;
  double total = 0;
  for (const float logit : kept) total += std::exp(logit / temperature);
  std::vector<int> counts(kept.size());
  constexpr int kDraws = 4000;
  for (int seed = 0; seed < kDraws; ++seed) {
    decoder.truncate(0);
    const auto ids = sample_tokens(
        decoder, prompt_,
        {.max_tokens = 1, .temperature = temperature, .seed = static_cast<uint64_t>(seed)});
    ++counts[static_cast<size_t>(ids.at(0))];
  }
  double chi_square = 0;
  int cells = 0;
  for (size_t i = 0; i < kept.size(); ++i) {
    const double expected = kDraws * std::exp(kept[i] / temperature) / total;
    if (expected < 5) continue;
    chi_square += std::pow(counts[i] - expected, 2) / expected;
    ++cells;
  }
  ASSERT_GT(cells, 10);
  // Mean `cells`, standard deviation sqrt(2 cells): allows five of them.
  EXPECT_LT(chi_square, cells + 5 * std::sqrt(2.0 * cells));
}

TEST_F(Sampling, RefusesATemperatureBelowZero) {
  EXPECT_THROW(sample({.temperature = -1}), Error);
  EXPECT_THROW(sample({.temperature = std::nan("")}), Error);
}

}  // namespace
}  // namespace ram
