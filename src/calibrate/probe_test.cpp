// Probing against references: the closed form for a head, and forward passes from the embedding on
// for every unit.
#include <cmath>
#include <filesystem>
#include <vector>

#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/progress.h"
#include "ram/thread.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "units.h"

namespace ram {
namespace {

using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

CalibrationText some_text(int64_t rows, int64_t length, int64_t vocabulary) {
  return random_text(vocabulary, {.rows = rows, .length = length, .seed = 7});
}

std::vector<int> quantizable_units(const Checkpoint& checkpoint) {
  std::vector<int> units;
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    if (checkpoint.units[u].quantizable) units.push_back(static_cast<int>(u));
  }
  return units;
}

double norm(std::span<const float> values) {
  double sum = 0;
  for (const float value : values) sum += double{value} * double{value};
  return std::sqrt(sum);
}

TEST(Noise, HasTheNormAskedForInEachPartWhateverTheThreadsAndTheRows) {
  const TempFolder folder;
  write_tiny_model(folder.path(), {.model_type = "qwen3_moe"});
  const Checkpoint checkpoint = Checkpoint::open(folder.path().string());
  for (const int unit : quantizable_units(checkpoint)) {
    const Unit& use = checkpoint.units[static_cast<size_t>(unit)];
    const std::vector<float> original = read_unit(checkpoint, unit);
    const auto disturbed = [&](int threads, uint64_t seed, int64_t step) {
      ThreadPool pool(threads);
      const UnitRows rows = noisy_rows(checkpoint, unit, 0.08, seed, pool);
      std::vector<float> weights(original.size());
      for (size_t part = 0; part < use.parts.size(); ++part) {
        float* out = weights.data() + static_cast<int64_t>(part) * use.part_weights();
        for (int64_t first = 0; first < use.rows; first += step) {
          rows(static_cast<int>(part), first, std::min(step, use.rows - first),
               out + first * use.cols);
        }
      }
      return weights;
    };
    const std::vector<float> weights = disturbed(2, 5, use.rows);
    const auto size = static_cast<size_t>(use.part_weights());
    for (size_t part = 0; part < use.parts.size(); ++part) {
      std::vector<float> difference;
      for (size_t i = part * size; i < (part + 1) * size; ++i) {
        difference.push_back(weights[i] - original[i]);
      }
      const double expected = 0.08 * norm(std::span(original).subspan(part * size, size));
      EXPECT_NEAR(norm(difference) / expected, 1, 1e-4) << use.name << " " << part;
    }
    EXPECT_EQ(disturbed(1, 5, 7), weights) << use.name;
    EXPECT_EQ(disturbed(3, 5, 1), weights) << use.name;
    EXPECT_NE(disturbed(2, 6, use.rows), weights) << use.name;
  }
}

class Probe : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    spec_.model_type = GetParam();
    write_tiny_model(folder_ / "model", spec_);
  }
  LanguageModel open() const {
    return {Checkpoint::open((folder_ / "model").string()), {.threads = 2}};
  }

  TempFolder folder_;
  TinyModel spec_;
};

INSTANTIATE_TEST_SUITE_P(Models, Probe, ::testing::Values("llama", "qwen3_moe"));

TEST_P(Probe, FindsWhatAPassFromTheEmbeddingOnFinds) {
  LanguageModel model = open();
  LanguageModel twin = open();
  Study study(folder_ / "ram.db");
  const CalibrationText text = some_text(3, 20, spec_.vocab);
  const ProbeOptions options{.seeds = 2, .most_seeds = 2, .first_rows = 3};
  const std::vector<int> units = quantizable_units(model.checkpoint());
  const Coefficients found = measure_coefficients(model, "f", units, text, options, study, {});
  ThreadPool pool(2);
  HiddenRows base = model.embed(text.rows);
  model.run_layers(base, 0, model.layers());
  for (const int unit : units) {
    double sum = 0;
    for (int seed = 0; seed < 2; ++seed) {
      twin.set_unit(unit, noisy_rows(model.checkpoint(), unit, 0.08,
                                     noise_seed(options.seed, unit, seed), pool));
      HiddenRows disturbed = twin.embed(text.rows);
      twin.run_layers(disturbed, 0, twin.layers());
      const std::vector<LogitSource> sources = {{.model = &model, .hidden = &base},
                                                {.model = &twin, .hidden = &disturbed}};
      const std::vector<double> sums = divergence_sums(text.rows, sources).front();
      for (const double kl : sums) sum += kl;
      twin.restore_unit(unit);
    }
    const double expected = sum / 2 / (3 * 19) / (0.08 * 0.08);
    ASSERT_TRUE(found.units[static_cast<size_t>(unit)].has_value());
    EXPECT_NEAR(found.units[static_cast<size_t>(unit)]->value / expected, 1, 1e-6)
        << model.checkpoint().units[static_cast<size_t>(unit)].name;
    EXPECT_GT(found.units[static_cast<size_t>(unit)]->log_error, 0);
  }
  EXPECT_LT(found.layers_run, found.layers_naive);
}

TEST_P(Probe, DoesNotMeasureAgainWhatTheStudyKnows) {
  LanguageModel model = open();
  const CalibrationText text = some_text(4, 16, spec_.vocab);
  const std::vector<int> units = quantizable_units(model.checkpoint());
  const ProbeOptions options{.first_rows = 2};
  Study study(folder_ / "ram.db");
  const Coefficients first = measure_coefficients(model, "f", units, text, options, study, {});
  const Coefficients again = measure_coefficients(model, "f", units, text, options, study, {});
  EXPECT_GT(first.layers_run, 0);
  EXPECT_EQ(again.layers_run, 0);
  for (const int unit : units) {
    EXPECT_EQ(first.units[static_cast<size_t>(unit)]->value,
              again.units[static_cast<size_t>(unit)]->value);
  }
  const Coefficients other = measure_coefficients(model, "g", units, text, options, study, {});
  EXPECT_GT(other.layers_run, 0);
}

TEST_P(Probe, KeepsNothingOfAModelThatChangedMeanwhile) {
  LanguageModel model = open();
  const CalibrationText text = some_text(2, 16, spec_.vocab);
  const std::vector<int> units = quantizable_units(model.checkpoint());
  Study study(folder_ / "ram.db");
  const auto touch = [&](const Progress&) {
    std::filesystem::last_write_time(folder_ / "model" / "model.safetensors",
                                     std::filesystem::file_time_type());
  };
  const ProbeOptions options{.first_rows = 2};
  EXPECT_THROW(measure_coefficients(model, "f", units, text, options, study, touch), Error);
  LanguageModel opened_again = open();
  std::vector<Progress> all;
  measure_coefficients(opened_again, "f", units, text, options, study,
                       [&](const Progress& progress) { all.push_back(progress); });
  ASSERT_FALSE(all.empty());
  EXPECT_LE(all.front().done, 1);  // nothing was known
}

TEST_P(Probe, KeepsToItsTimeByTakingFewerRows) {
  LanguageModel model = open();
  const std::vector<int> units = quantizable_units(model.checkpoint());
  const CalibrationText text = some_text(16, 20, spec_.vocab);
  std::vector<ProbeForecast> forecasts;
  ProbeOptions options{.most_seeds = 4, .first_rows = 16, .aimed_error = 1e-6, .seconds = 1e-6};
  options.forecast = [&](const ProbeForecast& forecast) { forecasts.push_back(forecast); };
  Study study(folder_ / "ram.db");
  const Coefficients hurried = measure_coefficients(model, "f", units, text, options, study, {});
  ASSERT_EQ(forecasts.size(), 1U);
  EXPECT_EQ(forecasts[0].rows, 2);
  EXPECT_EQ(forecasts[0].variants, 2 * std::ssize(units));
  EXPECT_GT(forecasts[0].seconds, 0);
  EXPECT_TRUE(hurried.cut_short);
  for (const int unit : units) EXPECT_EQ(hurried.units[static_cast<size_t>(unit)]->rows, 2);
  // The results of a run with a time limit do not change those of a later run without one.
  options.seconds = 0;
  const Coefficients whole = measure_coefficients(model, "f", units, text, options, study, {});
  EXPECT_FALSE(whole.cut_short);
  Study fresh(folder_ / "fresh.db");
  const Coefficients at_once = measure_coefficients(model, "f", units, text, options, fresh, {});
  for (const int unit : units) {
    EXPECT_EQ(whole.units[static_cast<size_t>(unit)]->rows, 16);
    EXPECT_EQ(whole.units[static_cast<size_t>(unit)]->seeds, 4);
    EXPECT_EQ(whole.units[static_cast<size_t>(unit)]->value,
              at_once.units[static_cast<size_t>(unit)]->value);
  }
}

TEST_P(Probe, GivesTheSameWhenFewVariantsFitTheMemoryAndWeightsAreReadAgain) {
  const CalibrationText text = some_text(2, 16, spec_.vocab);
  LanguageModel model = open();
  const std::vector<int> units = quantizable_units(model.checkpoint());
  Study study(folder_ / "ram.db");
  const Coefficients expected = measure_coefficients(model, "f", units, text, {}, study, {});
  // Keeps no weights in memory: every stage is read again, and variants run on together.
  LanguageModel little(Checkpoint::open((folder_ / "model").string()),
                       {.threads = 1, .memory_bytes = (int64_t{96} << 20) + 4096});
  ASSERT_FALSE(little.keeps_weights());
  for (const int64_t variants : {1, 3, 1000}) {
    Study fresh(folder_ / fmt::format("{}.db", variants));
    const ProbeOptions options{.memory_bytes = variants * 2 * 16 * spec_.hidden * 4};
    const Coefficients found = measure_coefficients(little, "f", units, text, options, fresh, {});
    for (const int unit : units) {
      EXPECT_EQ(found.units[static_cast<size_t>(unit)]->value,
                expected.units[static_cast<size_t>(unit)]->value);
    }
  }
}

// The layers before a unit's own run once for all units.
TEST(ProbeOfManyLayers, CostsAtMostThreeFifthsOfWholePasses) {
  const TempFolder folder;
  TinyModel spec;
  spec.model_type = "qwen3";
  spec.layers = 12;
  write_tiny_model(folder / "model", spec);
  LanguageModel model(Checkpoint::open((folder / "model").string()), {.threads = 2});
  Study study(folder / "ram.db");
  const Coefficients found = measure_coefficients(model, "f", quantizable_units(model.checkpoint()),
                                                  some_text(32, 24, spec.vocab), {}, study);
  const double share = found.layers_run / found.layers_naive;
  std::printf("%.1f %% of the naive token-layers\n", 100 * share);
  EXPECT_LE(share, 0.6);
  EXPECT_GT(share, 0.5);
}

// For small noise: KL = half the variance, under the model's own distribution, of what the noise
// adds to the logits; over noise, sigma^2 |h|^2 (1 - sum p^2) / 2.
TEST(ProbeOfAHead, AgreesWithTheClosedForm) {
  const TempFolder folder;
  TinyModel spec;
  spec.model_type = "llama";
  write_tiny_model(folder / "model", spec);
  LanguageModel model(Checkpoint::open((folder / "model").string()), {.threads = 2});
  const auto& units = model.checkpoint().units;
  const auto named = [&](std::string_view name) {
    const auto at = std::find_if(units.begin(), units.end(),
                                 [&](const Unit& unit) { return unit.name == name; });
    return static_cast<int>(at - units.begin());
  };
  const std::vector<int> head = {named("lm_head")};
  ThreadPool pool(1);
  const CalibrationText text = some_text(4, 24, spec.vocab);
  Study study(folder / "ram.db");
  const ProbeOptions options{.relative_noise = 0.005, .seeds = 40, .first_rows = 4};
  const Coefficients found = measure_coefficients(model, "f", head, text, options, study, {});

  HiddenRows hidden = model.embed(text.rows);
  model.run_layers(hidden, 0, model.layers());
  const std::vector<float> gain = read_unit(model.checkpoint(), named("model.norm"));
  const std::vector<float> weights = read_unit(model.checkpoint(), head[0]);
  const double variance =
      norm(weights) * norm(weights) / static_cast<double>(weights.size());  // per relative noise^2
  double expected = 0;
  int64_t tokens = 0;
  for (const Matrix& row : hidden) {
    const Matrix logits = model.logits(row);
    for (int64_t t = 0; t + 1 < row.rows(); ++t, ++tokens) {
      double squares = 0;
      for (int64_t i = 0; i < row.cols(); ++i) squares += std::pow(double{row.row(t)[i]}, 2);
      const double mean = squares / static_cast<double>(row.cols());
      double length = 0;
      for (int64_t i = 0; i < row.cols(); ++i) {
        length += std::pow(double{row.row(t)[i]} * double{gain[static_cast<size_t>(i)]}, 2) /
                  (mean + model.checkpoint().config.rms_norm_eps);
      }
      double sum = 0;
      double sum_squares = 0;
      for (int64_t i = 0; i < logits.cols(); ++i) {
        const double p = std::exp(double{logits.row(t)[i]});
        sum += p;
        sum_squares += p * p;
      }
      expected += variance * length * (1 - sum_squares / (sum * sum)) / 2;
    }
  }
  expected /= static_cast<double>(tokens);
  EXPECT_NEAR(found.units[static_cast<size_t>(head[0])]->value / expected, 1, 0.05);
}

}  // namespace
}  // namespace ram
