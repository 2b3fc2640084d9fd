// Gradients through a layer against differences of the layer itself, for every family.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/dtype.h"
#include "ram/engine.h"
#include "ram/machine.h"

#include "support/model_logits.h"
#include "support/random_values.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::random_values;
using testing::TempFolder;
using testing::TinyModel;

Matrix matrix_of(const std::vector<float>& values, int64_t rows, int64_t cols) {
  Matrix x(rows, cols);
  std::copy(values.begin(), values.end(), x.data());
  return x;
}

double product(const float* x, const float* y, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += double{x[i]} * double{y[i]};
  return sum;
}

/// All parts of a unit, one after another.
std::vector<float> weights_of(const Checkpoint& checkpoint, int index) {
  const Unit& unit = checkpoint.units[static_cast<size_t>(index)];
  std::vector<float> values(static_cast<size_t>(unit.weights()));
  std::vector<std::byte> raw(static_cast<size_t>(unit.part_weights() * dtype_bytes(unit.dtype)));
  for (int part = 0; part < static_cast<int>(unit.parts.size()); ++part) {
    checkpoint.read_rows(unit, part, 0, unit.rows, raw.data());
    to_f32(raw.data(), unit.dtype, unit.part_weights(), values.data() + part * unit.part_weights());
  }
  return values;
}

class Backward : public ::testing::TestWithParam<std::string> {
 protected:
  static constexpr int64_t kTokens = 9;
  static constexpr size_t kRows = 2;
  // Seed of inputs at which no small step sends a token to other experts: a jump, not a slope.
  static constexpr uint64_t kInputs = 5;

  void SetUp() override {
    spec_.model_type = GetParam();
    if (spec_.model_type == "qwen3_moe") spec_.dense_layers = {1};
    testing::write_tiny_model(folder_.path(), spec_);
  }

  LanguageModel open(int threads, int64_t memory = 0) const {
    return {Checkpoint::open(folder_.path().string()),
            {.threads = threads, .memory_bytes = memory}};
  }

  /// Hidden states, or directions of them.
  static HiddenRows random_rows(const LanguageModel& model, uint64_t seed) {
    HiddenRows rows;
    const int64_t hidden = model.checkpoint().config.hidden;
    for (size_t i = 0; i < kRows; ++i) {
      rows.push_back(matrix_of(random_values(kTokens * hidden, seed + i), kTokens, hidden));
    }
    return rows;
  }
  static HiddenRows copies(const HiddenRows& rows) {
    HiddenRows result;
    for (const Matrix& row : rows) result.push_back(row.copy());
    return result;
  }
  static double product_of(const HiddenRows& x, const HiddenRows& y) {
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      sum += product(x[i].data(), y[i].data(), x[i].rows() * x[i].cols());
    }
    return sum;
  }
  /// The number whose gradient is taken: the layer's output times `factors`.
  static double number(LanguageModel& model, const HiddenRows& inputs, int layer,
                       const HiddenRows& factors) {
    HiddenRows rows = copies(inputs);
    model.run_layers(rows, layer, layer + 1);
    return product_of(rows, factors);
  }
  /// Inputs moved by `step` along `direction`.
  static HiddenRows moved(const HiddenRows& inputs, const HiddenRows& direction, float step) {
    HiddenRows rows = copies(inputs);
    for (size_t i = 0; i < rows.size(); ++i) {
      for (int64_t j = 0; j < rows[i].rows() * rows[i].cols(); ++j) {
        rows[i].data()[j] += step * direction[i].data()[j];
      }
    }
    return rows;
  }

  TempFolder folder_;
  TinyModel spec_;
};

INSTANTIATE_TEST_SUITE_P(Models, Backward,
                         ::testing::Values("llama", "mistral", "qwen2", "qwen3", "qwen3_moe",
                                           "qwen2_moe", "mixtral"));

TEST_P(Backward, GivesTheGradientOfTheLayersInput) {
  LanguageModel model = open(2);
  const HiddenRows inputs = random_rows(model, kInputs);
  for (int layer = 0; layer < model.layers(); ++layer) {
    const HiddenRows factors = random_rows(model, 10);
    HiddenRows gradients = copies(factors);
    model.run_back(gradients, inputs, layer);
    for (uint64_t seed = 20; seed < 40; seed += 10) {
      constexpr float kStep = 3e-4F;
      const HiddenRows direction = random_rows(model, seed);
      const double difference = (number(model, moved(inputs, direction, kStep), layer, factors) -
                                 number(model, moved(inputs, direction, -kStep), layer, factors)) /
                                (2 * kStep);
      const double size = std::sqrt(product_of(gradients, gradients));
      EXPECT_NEAR(product_of(gradients, direction), difference, 1e-3 * size) << layer;
    }
  }
}

TEST_P(Backward, GivesTheGradientOfEveryMatrix) {
  LanguageModel model = open(2);
  const HiddenRows inputs = random_rows(model, kInputs);
  const auto& units = model.checkpoint().units;
  for (int layer = 0; layer < model.layers(); ++layer) {
    const HiddenRows factors = random_rows(model, 10);
    HiddenRows gradients = copies(factors);
    std::mutex one_row;
    std::map<int, std::vector<double>> weights;  // the gradient of each unit, all parts
    model.run_back(gradients, inputs, layer, [&](const LinearGradient& linear) {
      const std::lock_guard lock(one_row);
      const Unit& unit = units[static_cast<size_t>(linear.unit)];
      auto& sum = weights[linear.unit];
      sum.resize(static_cast<size_t>(unit.weights()));
      ASSERT_EQ(linear.rows, unit.rows);
      ASSERT_EQ(linear.cols, unit.cols);
      double* part = sum.data() + linear.part * unit.part_weights();
      for (int64_t t = 0; t < linear.tokens; ++t) {
        for (int64_t i = 0; i < linear.rows; ++i) {
          const double g = linear.gradients[t * linear.rows + i];
          for (int64_t j = 0; j < linear.cols; ++j) {
            part[i * linear.cols + j] += g * double{linear.inputs[t * linear.cols + j]};
          }
        }
      }
    });
    EXPECT_GE(weights.size(), 7U) << layer;
    for (const auto& [index, gradient] : weights) {
      const Unit& unit = units[static_cast<size_t>(index)];
      const std::vector<float> before = weights_of(model.checkpoint(), index);
      const std::vector<float> direction = random_values(unit.weights(), 50);
      const auto at = [&](float step) {
        model.set_unit(index, [&](int part, int64_t first, int64_t count, float* out) {
          const int64_t from = part * unit.part_weights() + first * unit.cols;
          for (int64_t i = 0; i < count * unit.cols; ++i) {
            out[i] = before[static_cast<size_t>(from + i)] +
                     step * direction[static_cast<size_t>(from + i)];
          }
        });
        const double value = number(model, inputs, layer, factors);
        model.restore_unit(index);
        return value;
      };
      constexpr float kStep = 3e-4F;
      double expected = 0;
      double size = 0;
      for (size_t i = 0; i < gradient.size(); ++i) {
        expected += gradient[i] * double{direction[i]};
        size += gradient[i] * gradient[i];
      }
      EXPECT_NEAR((at(kStep) - at(-kStep)) / (2 * kStep), expected, 2e-3 * std::sqrt(size))
          << unit.name;
    }
  }
}

TEST_P(Backward, GivesTheNormOfAGradientWithoutIt) {
  LanguageModel model = open(2);
  constexpr int64_t kTokenCount = 150;
  constexpr int64_t kCols = 40;
  constexpr int64_t kOutputs = 70;
  const std::vector<float> x = random_values(kTokenCount * kCols, 1);
  const std::vector<float> g = random_values(kTokenCount * kOutputs, 2);
  double expected = 0;
  for (int64_t i = 0; i < kOutputs; ++i) {
    for (int64_t j = 0; j < kCols; ++j) {
      double sum = 0;
      for (int64_t t = 0; t < kTokenCount; ++t) {
        sum += double{g[static_cast<size_t>(t * kOutputs + i)]} *
               double{x[static_cast<size_t>(t * kCols + j)]};
      }
      expected += sum * sum;
    }
  }
  EXPECT_NEAR(model.gradient_square({.inputs = x.data(),
                                     .gradients = g.data(),
                                     .tokens = kTokenCount,
                                     .cols = kCols,
                                     .rows = kOutputs}),
              expected, 1e-5 * expected);
}

TEST_P(Backward, GivesTheGradientOfTheLabelsLikelihood) {
  LanguageModel model = open(2);
  const HiddenRows hidden = random_rows(model, kInputs);
  std::vector<TokenRow> labels = testing::some_rows(kRows, kTokens, spec_.vocab);
  labels[0][3] = -1;
  const auto likelihood = [&](const HiddenRows& rows) {
    double sum = 0;
    for (size_t r = 0; r < rows.size(); ++r) {
      const Matrix logits = model.logits(rows[r]);
      for (int64_t t = 0; t < kTokens; ++t) {
        const int32_t label = labels[r][static_cast<size_t>(t)];
        if (label < 0) continue;
        double all = 0;
        for (int64_t i = 0; i < logits.cols(); ++i) all += std::exp(double{logits.row(t)[i]});
        sum += logits.row(t)[label] - std::log(all);
      }
    }
    return sum;
  };
  std::mutex one_row;
  double head_size = 0;  // of the head's gradient, squared
  const HiddenRows gradients =
      model.likelihood_gradients(hidden, labels, [&](const LinearGradient& head) {
        const std::lock_guard lock(one_row);
        EXPECT_EQ(head.unit, model.checkpoint().head);
        for (int64_t i = 0; i < head.rows * head.tokens; ++i) {
          head_size += double{head.gradients[i]} * head.gradients[i];
        }
      });
  EXPECT_GT(head_size, 0);
  for (uint64_t seed = 20; seed < 40; seed += 10) {
    constexpr float kStep = 3e-4F;
    const HiddenRows direction = random_rows(model, seed);
    const double difference = (likelihood(moved(hidden, direction, kStep)) -
                               likelihood(moved(hidden, direction, -kStep))) /
                              (2 * kStep);
    const double size = std::sqrt(product_of(gradients, gradients));
    EXPECT_NEAR(product_of(gradients, direction), difference, 1e-3 * size);
  }
}

// More ids than come in one piece of logits, whose logits are all kept, kept in part, or not kept.
TEST(LikelihoodGradients, AreTheSameBitsWhetherLogitsAreKept) {
  constexpr int64_t kLength = 40;
  constexpr int64_t kAll = 5;
  const TempFolder folder;
  const TinyModel spec{.layers = 1, .vocab = 4500};
  testing::write_tiny_model(folder.path(), spec);
  const auto open = [&](int threads, int64_t memory) {
    return LanguageModel(Checkpoint::open(folder.path().string()),
                         {.threads = threads, .memory_bytes = memory});
  };
  const std::vector<TokenRow> rows = testing::some_rows(kAll, kLength, spec.vocab);
  struct Found {
    HiddenRows gradients;
    std::vector<double> squares;  // of the head's gradient, by row
    int64_t kept = 0;
  };
  const auto gradients = [&](int threads, int64_t memory) {
    LanguageModel model = open(threads, memory);
    Found found{.gradients = {},
                .squares = std::vector<double>(kAll),
                .kept = model.kept_logit_rows(kLength)};
    const HiddenRows hidden = model.embed(rows);
    found.gradients = model.likelihood_gradients(hidden, rows, [&](const LinearGradient& head) {
      found.squares[static_cast<size_t>(head.row)] += model.gradient_square(head);
    });
    return found;
  };
  const Found all = gradients(1, 0);
  EXPECT_GE(all.kept, kAll);
  for (const int threads : {1, 3}) {
    const LanguageModel little = open(threads, testing::kLittleMemory);
    const int64_t pass = little.pass_bytes(kLength);
    const int64_t none = memory_bytes_for(pass);
    const int64_t some = memory_bytes_for(pass + 9 * little.kept_logit_bytes(kLength) / 2);
    EXPECT_EQ(gradients(threads, none).kept, 0);
    EXPECT_GE(gradients(threads, some).kept, threads);
    EXPECT_LT(gradients(threads, some).kept, kAll);
    for (const int64_t memory : {int64_t{0}, some, none}) {
      const Found found = gradients(threads, memory);
      EXPECT_EQ(found.squares, all.squares) << threads << ", " << memory;
      for (size_t r = 0; r < found.gradients.size(); ++r) {
        const int64_t bytes = 4 * kLength * all.gradients[r].cols();
        EXPECT_EQ(std::memcmp(found.gradients[r].data(), all.gradients[r].data(),
                              static_cast<size_t>(bytes)),
                  0)
            << r << ", " << threads << ", " << memory;
      }
    }
  }
}

TEST_P(Backward, GivesTheSameBitsForAnyThreadsAndMemory) {
  LanguageModel one = open(1);
  const HiddenRows inputs = random_rows(one, 1);
  const HiddenRows factors = random_rows(one, 10);
  HiddenRows expected = copies(factors);
  one.run_back(expected, inputs, 0);
  for (const int64_t memory : {int64_t{0}, testing::kLittleMemory}) {
    LanguageModel model = open(3, memory);
    HiddenRows gradients = copies(factors);
    model.run_back(gradients, inputs, 0);
    for (size_t i = 0; i < gradients.size(); ++i) {
      const int64_t count = gradients[i].rows() * gradients[i].cols();
      EXPECT_TRUE(std::equal(gradients[i].data(), gradients[i].data() + count, expected[i].data()));
    }
  }
}

}  // namespace
}  // namespace ram
