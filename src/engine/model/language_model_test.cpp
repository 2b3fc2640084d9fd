#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ram/engine.h"
#include "ram/error.h"

#include "support/mlx_model.h"
#include "support/model_logits.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

using testing::kLittleMemory;
using testing::logits_of;
using testing::some_rows;
using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

const std::vector<std::string> kFamilies = {"llama",     "mistral",   "qwen2",  "qwen3",
                                            "qwen3_moe", "qwen2_moe", "mixtral"};

/// A unit's weights, all parts one after another, in the form of set_unit.
UnitRows rows_of(const std::vector<float>& values, const Unit& unit) {
  return [values, size = unit.part_weights(), cols = unit.cols](int part, int64_t first,
                                                                int64_t count, float* out) {
    std::copy_n(values.data() + part * size + first * cols, count * cols, out);
  };
}

class EveryFamily : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    spec_.model_type = GetParam();
    if (spec_.model_type == "qwen3_moe") spec_.dense_layers = {1};
    write_tiny_model(folder_.path(), spec_);
  }

  LanguageModel open(int threads, int64_t memory = 0) const {
    return {Checkpoint::open(folder_.path().string()),
            {.threads = threads, .memory_bytes = memory}};
  }

  TempFolder folder_;
  TinyModel spec_;
};

INSTANTIATE_TEST_SUITE_P(Models, EveryFamily, ::testing::ValuesIn(kFamilies));

TEST_P(EveryFamily, GivesTheSameBitsWhateverTheNumberOfThreads) {
  const auto rows = some_rows(3, 300, spec_.vocab);
  LanguageModel one = open(1);
  const auto expected = logits_of(one, rows);
  for (const int threads : {2, 5}) {
    LanguageModel model = open(threads);
    EXPECT_EQ(logits_of(model, rows), expected) << threads;
  }
}

TEST_P(EveryFamily, GivesTheSameBitsWhenWeightsAreReadAgainForEachStage) {
  const auto rows = some_rows(2, 40, spec_.vocab);
  LanguageModel in_memory = open(2);
  LanguageModel from_disk = open(2, kLittleMemory);
  const auto expected = logits_of(in_memory, rows);
  EXPECT_EQ(logits_of(from_disk, rows), expected);
  EXPECT_EQ(logits_of(from_disk, rows), expected);
}

TEST_P(EveryFamily, GivesARowTheSameBitsAloneAndWithOthers) {
  const auto rows = some_rows(4, 33, spec_.vocab);
  LanguageModel model = open(2);
  const auto together = logits_of(model, rows);
  std::vector<float> apart;
  for (const TokenRow& row : rows) {
    const auto logits = logits_of(model, {&row, 1});
    apart.insert(apart.end(), logits.begin(), logits.end());
  }
  EXPECT_EQ(apart, together);
}

TEST_P(EveryFamily, GoesOnFromSavedHiddenStates) {
  const auto rows = some_rows(2, 20, spec_.vocab);
  LanguageModel model = open(2);
  HiddenRows hidden = model.embed(rows);
  model.run_layers(hidden, 0, 1);
  HiddenRows saved;
  for (const Matrix& row : hidden) saved.push_back(row.copy());
  model.run_layers(hidden, 1, model.layers());
  model.run_layers(saved, 1, model.layers());
  for (size_t r = 0; r < hidden.size(); ++r) {
    const int64_t count = hidden[r].rows() * hidden[r].cols();
    EXPECT_TRUE(std::equal(hidden[r].data(), hidden[r].data() + count, saved[r].data()));
  }
}

TEST_P(EveryFamily, DecodesTokenByTokenWhatItComputesAtOnce) {
  const auto rows = some_rows(1, 24, spec_.vocab);
  LanguageModel model = open(2);
  const auto expected = logits_of(model, rows);
  Decoder decoder(model, 64);
  const std::span<const int32_t> ids(rows[0]);
  const auto check = [&](std::span<const float> logits, size_t position) {
    for (size_t i = 0; i < logits.size(); ++i) {
      ASSERT_NEAR(logits[i], expected[position * logits.size() + i], 2e-5) << position;
    }
  };
  check(decoder.feed(ids.first(13)), 12);
  check(decoder.feed(ids.subspan(13, 3)), 15);
  for (size_t i = 16; i < ids.size(); ++i) check(decoder.feed(ids.subspan(i, 1)), i);
  EXPECT_EQ(decoder.length(), 24);
  decoder.truncate(10);
  check(decoder.feed(ids.subspan(10, 9)), 18);
}

TEST_P(EveryFamily, ScoresContinuationsAsTheSameTokensAtOnce) {
  const auto rows = some_rows(3, 40, spec_.vocab);
  LanguageModel model = open(2);
  const TokenRow& prompt = rows[0];
  // With one id, with several, with ids that do not count, and one repeated.
  const std::vector<Continuation> continuations = {
      {.ids = std::span(rows[1]).first(1)},
      {.ids = std::span(rows[1]).first(9)},
      {.ids = std::span(rows[2]).first(30), .first_scored = 20},
      {.ids = std::span(rows[1]).first(9)}};
  Decoder decoder(model, 200);
  decoder.feed(std::span(prompt).first(15));
  const auto scores = decoder.score(std::span(prompt).subspan(15), continuations);
  EXPECT_EQ(decoder.length(), 40);
  ASSERT_EQ(scores.size(), 4U);
  for (size_t c = 0; c < continuations.size(); ++c) {
    TokenRow whole = prompt;
    const Continuation& continuation = continuations[c];
    whole.insert(whole.end(), continuation.ids.begin(), continuation.ids.end());
    const auto logits = logits_of(model, {&whole, 1});
    double expected = 0;
    bool likeliest = true;
    for (size_t i = static_cast<size_t>(continuation.first_scored); i < continuation.ids.size();
         ++i) {
      const auto vocabulary = static_cast<size_t>(spec_.vocab);
      const float* row = logits.data() + (prompt.size() + i - 1) * vocabulary;
      double sum = 0;
      for (size_t v = 0; v < vocabulary; ++v) sum += std::exp(double{row[v]});
      expected += double{row[continuation.ids[i]]} - std::log(sum);
      likeliest = likeliest && std::max_element(row, row + vocabulary) - row == continuation.ids[i];
    }
    EXPECT_NEAR(scores[c].log_likelihood, expected, 2e-4) << c;
    EXPECT_EQ(scores[c].likeliest, likeliest) << c;
  }
  EXPECT_EQ(scores[1].log_likelihood, scores[3].log_likelihood);
  // The continuations are dropped: the next ids fed follow the prompt.
  TokenRow next = prompt;
  next.push_back(5);
  const auto expected = logits_of(model, {&next, 1});
  const auto after = decoder.feed(std::span(next).last(1));
  for (size_t v = 0; v < after.size(); ++v) {
    ASSERT_NEAR(after[v], expected[prompt.size() * after.size() + v], 2e-5);
  }
}

/// What an observer was shown, one entry for each call.
struct Seen {
  int unit = 0;
  int part = 0;
  int64_t row = 0;
  std::vector<float> inputs;
  friend bool operator==(const Seen&, const Seen&) = default;
};

/// Runs to the inputs of each matrix of the first layer see what a run through the layer sees of
/// it.
void check_runs_to_inputs(LanguageModel& model, const std::vector<TokenRow>& rows) {
  const auto& units = model.checkpoint().units;
  const HiddenRows start = model.embed(rows);
  std::vector<Seen> all;
  const auto record = [](std::vector<Seen>& into) {
    return [&into](const LinearInput& input) {
      into.push_back({.unit = input.unit,
                      .part = input.part,
                      .row = input.row,
                      .inputs = {input.inputs, input.inputs + input.tokens * input.cols}});
    };
  };
  const auto copy = [&start] {
    HiddenRows copied;
    for (const Matrix& row : start) copied.push_back(row.copy());
    return copied;
  };
  HiddenRows hidden = copy();
  model.run_layers(hidden, 0, 1, record(all));
  for (size_t u = 0; u < units.size(); ++u) {
    if (units[u].layer != 0 || units[u].shape.size() < 2) continue;
    const int unit = static_cast<int>(u);
    std::vector<Seen> seen;
    HiddenRows passing = copy();
    for (int block = 0; block < model.block_of(unit); ++block) model.run_block(passing, 0, block);
    model.run_to_inputs(passing, {&unit, 1}, record(seen));
    ASSERT_FALSE(seen.empty());
    EXPECT_EQ(seen.back().unit, unit) << "and nothing after it";
    const auto of_unit = [unit](const Seen& one) { return one.unit == unit; };
    std::vector<Seen> expected;
    std::copy_if(all.begin(), all.end(), std::back_inserter(expected), of_unit);
    std::erase_if(seen, [&](const Seen& one) { return !of_unit(one); });
    EXPECT_EQ(seen, expected) << units[u].name;
  }
}

TEST_P(EveryFamily, RunsAsFarAsTheInputsThatAreWanted) {
  LanguageModel model = open(2);
  check_runs_to_inputs(model, some_rows(2, 30, spec_.vocab));
}

TEST(Experts, AreSeenWhereTheyAreLoadedInSeveralSteps) {
  const TempFolder folder;
  // Six experts of 12 MiB as float32, of which five are loaded at a time.
  const TinyModel spec{.model_type = "qwen3_moe",
                       .hidden = 512,
                       .layers = 1,
                       .intermediate = 64,
                       .experts = 6,
                       .expert_width = 2048};
  write_tiny_model(folder.path(), spec);
  LanguageModel model(Checkpoint::open(folder.path().string()),
                      {.threads = 2, .memory_bytes = int64_t{160} << 20});
  ASSERT_FALSE(model.keeps_weights());
  check_runs_to_inputs(model, some_rows(2, 30, spec.vocab));
}

TEST_P(EveryFamily, ALayerIsItsBlocksInOrder) {
  LanguageModel model = open(2);
  const auto rows = some_rows(3, 30, spec_.vocab);
  HiddenRows whole = model.embed(rows);
  HiddenRows in_blocks = model.embed(rows);
  for (int layer = 0; layer < model.layers(); ++layer) {
    model.run_layers(whole, layer, layer + 1);
    ASSERT_EQ(model.blocks(layer), 2);
    for (int block = 0; block < model.blocks(layer); ++block) {
      model.run_block(in_blocks, layer, block, [&](const LinearInput& input) {
        EXPECT_EQ(model.block_of(input.unit), block);
      });
    }
  }
  for (size_t i = 0; i < whole.size(); ++i) {
    const int64_t bytes = whole[i].rows() * whole[i].cols() * 4;
    EXPECT_EQ(std::memcmp(in_blocks[i].data(), whole[i].data(), static_cast<size_t>(bytes)), 0);
  }
}

TEST_P(EveryFamily, ShowsTheInputsOfEveryLinear) {
  const auto rows = some_rows(2, 30, spec_.vocab);
  LanguageModel model = open(2);
  HiddenRows hidden = model.embed(rows);
  const auto& units = model.checkpoint().units;
  std::vector<int64_t> tokens(units.size());
  int64_t last_row = 0;
  int last_layer = 0;
  model.run_layers(hidden, 0, model.layers(), [&](const LinearInput& input) {
    const Unit& unit = units.at(static_cast<size_t>(input.unit));
    EXPECT_EQ(input.cols, unit.cols);
    EXPECT_LT(input.part, static_cast<int>(unit.parts.size()));
    tokens[static_cast<size_t>(input.unit)] += input.tokens;
    for (int64_t i = 0; i < input.tokens * input.cols; ++i) {
      ASSERT_TRUE(std::isfinite(input.inputs[i]));
    }
    if (unit.layer != last_layer) last_row = 0;
    last_layer = unit.layer;
    EXPECT_GE(input.row, 0);
    EXPECT_LT(input.row, 2);
    last_row = input.row;
  });
  for (size_t u = 0; u < units.size(); ++u) {
    const bool linear = units[u].layer >= 0 && units[u].shape.size() > 1;
    const int64_t each = units[u].role == Role::kExpert ? 2 * 60 : 60;
    EXPECT_EQ(tokens[u], linear ? each : 0) << units[u].name;
  }
}

TEST_P(EveryFamily, SwapsAUnitsWeightsAndPutsThemBack) {
  const auto rows = some_rows(2, 12, spec_.vocab);
  LanguageModel model = open(2);
  const auto expected = logits_of(model, rows);
  const auto& units = model.checkpoint().units;
  for (size_t u = 0; u < units.size(); ++u) {
    const Unit& unit = units[u];
    if (unit.shape.size() < 2) continue;
    std::vector<float> values(static_cast<size_t>(unit.weights()));
    std::vector<std::byte> raw(values.size() * 2);
    for (size_t part = 0; part < unit.parts.size(); ++part) {
      model.checkpoint().read_rows(unit, static_cast<int>(part), 0, unit.rows,
                                   raw.data() + part * unit.part_weights() * 2);
    }
    to_f32(raw.data(), unit.dtype, std::ssize(values), values.data());
    model.set_unit(static_cast<int>(u), rows_of(values, unit));
    EXPECT_EQ(logits_of(model, rows), expected) << unit.name;
    for (float& value : values) value *= 1.25F;
    model.set_unit(static_cast<int>(u), rows_of(values, unit));
    // One row's gate of a shared expert also changes the logits, if only slightly.
    EXPECT_NE(logits_of(model, rows), expected) << unit.name;
    model.restore_unit(static_cast<int>(u));
    EXPECT_EQ(logits_of(model, rows), expected) << unit.name;
  }
}

TEST_P(EveryFamily, ComputesAnMlxFoldersDecodedWeights) {
  TempFolder quantized;
  TinyModel spec = spec_;
  spec.expert_layout = testing::ExpertLayout::kMlx;
  size_t next = 0;
  nlohmann::json config = testing::tiny_model_config(spec);
  config["quantization"] = {{"group_size", 64}, {"bits", 4}};
  const auto rule = [&](const std::string& module) -> std::optional<AffineFormat> {
    if (module.ends_with("mlp.gate") || module.ends_with("shared_expert_gate")) {
      config["quantization"][module] = false;
      return std::nullopt;
    }
    AffineFormat format = kAffineFormats[next++ % kAffineFormats.size()];
    if (format.group_size == 128) format.group_size = 32;
    config["quantization"][module] = testing::format_json(format);
    return format;
  };
  const testing::StoredTensors tensors = testing::mlx_tensors(spec, rule);
  testing::write_mlx_model(quantized.path(), config, tensors);
  LanguageModel model(Checkpoint::open(quantized.path().string(), Quantized::kAccept),
                      {.threads = 2});
  const auto rows = some_rows(2, 21, spec.vocab);
  const auto expected = logits_of(model, rows);
  // The same values as float32 instead of the codes.
  const auto& units = model.checkpoint().units;
  int swapped = 0;
  for (size_t u = 0; u < units.size(); ++u) {
    const Unit& unit = units[u];
    if (!unit.stored) continue;
    const int64_t part_weights = unit.part_weights();
    std::vector<float> values(static_cast<size_t>(unit.weights()));
    for (size_t part = 0; part < unit.parts.size(); ++part) {
      std::vector<uint32_t> codes(static_cast<size_t>(code_words(part_weights, *unit.stored)));
      std::vector<std::byte> scales(
          static_cast<size_t>(part_weights / unit.stored->group_size * 2));
      auto biases = scales;
      model.checkpoint().read_encoded_rows(unit, static_cast<int>(part), 0, unit.rows, codes.data(),
                                           scales.data(), biases.data());
      affine_decode(codes.data(), scales.data(), biases.data(), unit.dtype, unit.rows, unit.cols,
                    *unit.stored, values.data() + static_cast<int64_t>(part) * part_weights);
    }
    model.set_unit(static_cast<int>(u), rows_of(values, unit));
    ++swapped;
  }
  EXPECT_GT(swapped, 10);
  EXPECT_EQ(logits_of(model, rows), expected);
  // Few tokens are multiplied by the codes directly.
  for (size_t u = 0; u < units.size(); ++u) model.restore_unit(static_cast<int>(u));
  Decoder decoder(model, 32);
  const auto vocabulary = static_cast<size_t>(spec.vocab);
  for (size_t i = 0; i < rows[0].size(); ++i) {
    const auto logits = decoder.feed(std::span(rows[0]).subspan(i, 1));
    for (size_t j = 0; j < vocabulary; ++j) {
      ASSERT_NEAR(logits[j], expected[i * vocabulary + j], 3e-5);
    }
  }
}

TEST(LanguageModel, RoundsActivationsToBf16WhereAsked) {
  TempFolder folder;
  const TinyModel spec{.model_type = "qwen3"};  // no experts, whose choice could change
  write_tiny_model(folder.path(), spec);
  const auto rows = some_rows(1, 40, spec.vocab);
  LanguageModel exact(Checkpoint::open(folder.path().string()), {.threads = 1});
  LanguageModel rounded(Checkpoint::open(folder.path().string()),
                        {.precision = Precision::kBF16, .threads = 2});
  const auto a = logits_of(exact, rows);
  const auto b = logits_of(rounded, rows);
  double difference = 0;
  double size = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += std::pow(double{a[i]} - double{b[i]}, 2);
    size += std::pow(double{a[i]}, 2);
  }
  const double relative = std::sqrt(difference / size);
  EXPECT_GT(relative, 1e-4);
  EXPECT_LT(relative, 3e-2);
}

TEST(Decoder, HoldsMoreTokensThanItBeganWithRoomFor) {
  TempFolder folder;
  const TinyModel spec;
  write_tiny_model(folder.path(), spec);
  LanguageModel model(Checkpoint::open(folder.path().string()), {.threads = 1});
  const auto rows = some_rows(1, 300, spec.vocab);
  const auto expected = logits_of(model, rows);
  Decoder decoder(model, int64_t{1} << 40);  // costs nothing until it is used
  const std::span<const int32_t> ids(rows[0]);
  decoder.feed(ids.first(250));
  std::span<const float> logits;
  for (size_t i = 250; i < ids.size(); ++i) logits = decoder.feed(ids.subspan(i, 1));
  for (size_t i = 0; i < logits.size(); ++i) {
    ASSERT_NEAR(logits[i], expected[(ids.size() - 1) * logits.size() + i], 2e-5);
  }
}

TEST(Decoder, GivesFloat32LogitsWhereActivationsAreBf16) {
  TempFolder folder;
  write_tiny_model(folder.path(), {});
  LanguageModel model(Checkpoint::open(folder.path().string()),
                      {.precision = Precision::kBF16, .threads = 1});
  Decoder decoder(model, 8);
  const std::vector<int32_t> ids = {1, 2, 3};
  int finer = 0;
  for (const float logit : decoder.feed(ids)) finer += bf16_to_f32(f32_to_bf16(logit)) != logit;
  EXPECT_GT(finer, 48);  // of 96
}

TEST(LanguageModel, RefusesAnIdOutsideTheVocabulary) {
  TempFolder folder;
  write_tiny_model(folder.path(), {});
  LanguageModel model(Checkpoint::open(folder.path().string()), {.threads = 1});
  const std::vector<TokenRow> rows = {{1, 2, 96}};
  try {
    model.embed(rows);
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_NE(std::string(error.what()).find("id 96 at position 2"), std::string::npos)
        << error.what();
  }
}

TEST(LanguageModel, NamesTheLayerWhereAHiddenStateOverflows) {
  TempFolder folder;
  TinyModel spec;
  spec.dtype = DType::kF32;
  spec.edit = [](const std::string& name, std::vector<float>& values) {
    if (name != "model.layers.1.mlp.down_proj.weight") return;
    for (float& value : values) value = 3e38F;
  };
  write_tiny_model(folder.path(), spec);
  LanguageModel model(Checkpoint::open(folder.path().string()), {.threads = 1});
  const auto rows = some_rows(1, 10, spec.vocab);
  HiddenRows hidden = model.embed(rows);
  try {
    model.run_layers(hidden, 0, model.layers());
    FAIL();
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    EXPECT_NE(std::string(error.what()).find("layer 1"), std::string::npos) << error.what();
  }
}

TEST(VisitLogits, GivesTheSameTokensOfAllModels) {
  TempFolder folder;
  TinyModel spec;
  spec.vocab = 5000;  // more than one piece
  write_tiny_model(folder.path(), spec);
  LanguageModel a(Checkpoint::open(folder.path().string()), {.threads = 2});
  LanguageModel b(Checkpoint::open(folder.path().string()), {.threads = 1});
  const auto rows = some_rows(2, 270, spec.vocab);
  HiddenRows hidden = a.embed(rows);
  a.run_layers(hidden, 0, 2);
  const Matrix whole = a.logits(hidden[1]);
  const std::vector<LogitSource> sources = {{&a, &hidden}, {&b, &hidden}};
  std::vector<int64_t> seen(2 * 270);
  visit_logits(sources, [&](const LogitPiece& piece, int) {
    ASSERT_EQ(piece.logits.size(), 2U);
    for (int64_t t = 0; t < piece.tokens; ++t) {
      int64_t& ids = seen[static_cast<size_t>(piece.row * 270 + piece.first_token + t)];
      ASSERT_EQ(ids, piece.first_id);
      ids += piece.ids;
      for (int64_t i = 0; i < piece.ids; ++i) {
        const float value = piece.logits[0][t * piece.ids + i];
        ASSERT_EQ(value, piece.logits[1][t * piece.ids + i]);
        if (piece.row == 1) {
          ASSERT_EQ(value, whole.row(piece.first_token + t)[piece.first_id + i]);
        }
      }
    }
  });
  for (const int64_t ids : seen) EXPECT_EQ(ids, 5000);
}

}  // namespace
}  // namespace ram
