#include <algorithm>
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

/// The id at which the sum of the weights, one after another in double, passes the share.
int32_t slow_draw(const std::vector<float>& logits, double temperature, double share) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  std::vector<double> sums;
  sums.reserve(logits.size());
  double sum = 0;
  for (const float logit : logits) {
    sums.push_back(sum += std::exp((double{logit} - largest) / temperature));
  }
  return static_cast<int32_t>(std::upper_bound(sums.begin(), sums.end(), share * sum) -
                              sums.begin());
}

TEST_F(Sampling, DrawsTheIdAtWhichTheSumPassesTheShare) {
  SplitMix64 values(5);
  for (const size_t ids : {1, 255, 256, 257, 5000}) {
    std::vector<float> logits(ids);
    for (float& logit : logits) logit = static_cast<float>(20 * values.uniform() - 10);
    for (const double temperature : {1.0, 0.3, 2.0}) {
      int others = 0;
      for (uint64_t seed = 0; seed < 500; ++seed) {
        SplitMix64 random(seed);
        SplitMix64 same(seed);
        const int32_t id = model_.draw_token(logits, temperature, random);
        ASSERT_LT(static_cast<size_t>(id), ids);
        others += id == slow_draw(logits, temperature, same.uniform()) ? 0 : 1;
        EXPECT_EQ(random.uniform(), same.uniform()) << "one draw each";
      }
      EXPECT_LE(others, 1) << ids << " ids at " << temperature;
    }
  }
}

TEST_F(Sampling, DrawsTheOnlyIdWithAWeight) {
  for (const size_t only : {0, 300, 999}) {
    std::vector<float> logits(1000, -2000);
    logits[only] = 50;
    SplitMix64 random(1);
    for (int draw = 0; draw < 100; ++draw) {
      EXPECT_EQ(model_.draw_token(logits, 1, random), static_cast<int32_t>(only));
    }
    logits.assign(1000, 1);
    logits[only] = 2;
    for (const double temperature : {1e-3, 1e-40, 1e-300, 5e-324}) {
      EXPECT_EQ(model_.draw_token(logits, temperature, random), static_cast<int32_t>(only))
          << temperature;
    }
  }
}

TEST_F(Sampling, RefusesATemperatureBelowZero) {
  EXPECT_THROW(sample({.temperature = -1}), Error);
  EXPECT_THROW(sample({.temperature = std::nan("")}), Error);
}

}  // namespace
}  // namespace ram
