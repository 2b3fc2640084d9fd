// Noise in all units at once: its effect on a text depends only on its sizes and seed, and the
// model is unchanged afterwards.
#include <cmath>
#include <span>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/thread.h"

#include "support/model_logits.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "units.h"

namespace ram {
namespace {

using testing::logits_of;
using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

class NoiseRun : public ::testing::TestWithParam<std::string> {
 protected:
  NoiseRun() {
    spec_.model_type = GetParam();
    write_tiny_model(folder_.path(), spec_);
    rows_ = random_text(spec_.vocab, {.rows = 4, .length = 20, .seed = 3}).rows;
  }
  LanguageModel open(int threads = 2) const {
    return {Checkpoint::open(folder_.path().string()), {.threads = threads}};
  }
  static std::vector<double> sizes(const LanguageModel& model, double relative) {
    std::vector<double> all;
    for (const Unit& unit : model.checkpoint().units)
      all.push_back(unit.quantizable ? relative : 0);
    return all;
  }
  NoiseResult run(LanguageModel& model, double relative, uint64_t seed = 42) {
    return run_with_noise(model, sizes(model, relative), rows_, seed);
  }

  TempFolder folder_;
  TinyModel spec_;
  std::vector<TokenRow> rows_;
};

INSTANTIATE_TEST_SUITE_P(Models, NoiseRun, ::testing::Values("llama", "qwen3_moe"));

TEST_P(NoiseRun, OfNoSizeChangesNothing) {
  LanguageModel model = open();
  for (const double kl : run(model, 0).row_kl) EXPECT_EQ(kl, 0);
}

// Every token uses all experts here: otherwise the switch of a token to another expert would cause
// most of the harm, even with little noise.
TEST_P(NoiseRun, DoesMoreHarmTheLargerItIs) {
  TinyModel spec = spec_;
  spec.experts = 2;
  const TempFolder folder;
  write_tiny_model(folder.path(), spec);
  LanguageModel model(Checkpoint::open(folder.path().string()), {.threads = 2});
  const auto harm = [&](double relative) {
    double sum = 0;
    for (const double kl : run(model, relative).row_kl) {
      EXPECT_GT(kl, 0);
      sum += kl;
    }
    return sum;
  };
  const double little = harm(0.001);
  const double more = harm(0.01);
  // Small harm grows with the square of the noise: about a hundredfold.
  EXPECT_GT(more, 10 * little);
  EXPECT_GT(harm(0.1), more);
}

TEST_P(NoiseRun, DependsOnTheSeedAndNotOnThreadsOrOnRowsBeside) {
  LanguageModel model = open();
  const NoiseResult all = run(model, 0.05);
  LanguageModel alone = open(1);
  EXPECT_EQ(run(alone, 0.05).row_kl, all.row_kl);
  EXPECT_NE(run(model, 0.05, 43).row_kl, all.row_kl);
  const NoiseResult part =
      run_with_noise(model, sizes(model, 0.05), std::span(rows_).subspan(1, 2), 42);
  EXPECT_EQ(part.row_kl, (std::vector<double>{all.row_kl[1], all.row_kl[2]}));
  EXPECT_EQ(part.row_nll, (std::vector<double>{all.row_nll[1], all.row_nll[2]}));
}

TEST_P(NoiseRun, LeavesTheModelAsItWas) {
  LanguageModel model = open();
  const std::vector<float> before = logits_of(model, rows_);
  run(model, 0.1);
  EXPECT_EQ(logits_of(model, rows_), before);
}

// The noise of neighbouring seeds, units and repetitions is unrelated.
TEST_P(NoiseRun, OfOtherSeedsIsOther) {
  LanguageModel model = open();
  const Checkpoint& checkpoint = model.checkpoint();
  ThreadPool pool(2);
  int unit = 0;
  while (!checkpoint.units[static_cast<size_t>(unit)].quantizable) ++unit;
  const int64_t cols = checkpoint.units[static_cast<size_t>(unit)].cols;
  const std::vector<float> weights = read_unit(checkpoint, unit);
  const auto noise_of = [&](uint64_t seed) {
    std::vector<float> row(static_cast<size_t>(cols));
    noisy_rows(checkpoint, unit, 0.5, seed, pool)(0, 0, 1, row.data());
    for (size_t i = 0; i < row.size(); ++i) row[i] -= weights[i];
    return row;
  };
  const auto correlation = [](const std::vector<float>& a, const std::vector<float>& b) {
    double ab = 0;
    double aa = 0;
    double bb = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      ab += double{a[i]} * double{b[i]};
      aa += double{a[i]} * double{a[i]};
      bb += double{b[i]} * double{b[i]};
    }
    return ab / std::sqrt(aa * bb);
  };
  const std::vector<float> first = noise_of(noise_seed(42, 0, 0));
  EXPECT_NEAR(correlation(first, noise_of(noise_seed(42, 0, 0))), 1, 1e-6);
  // A correlation of 64 values exceeds 0.6 by chance once in a million.
  for (const uint64_t seed : {noise_seed(43, 0, 0), noise_seed(42, 1, 0), noise_seed(42, 0, 1),
                              noise_seed(42 + 7919, 0, 0), noise_seed(42 + 1'000'003, 0, 0)}) {
    EXPECT_LT(std::fabs(correlation(first, noise_of(seed))), 0.6);
  }
}

}  // namespace
}  // namespace ram
