// Compressing layer by layer equals replacing all units at once; the store of compressed units.
#include <cmath>
#include <fstream>
#include <map>
#include <numeric>
#include <string>
#include <utility>
#include <vector>

#include <gtest/gtest.h>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/eval.h"
#include "ram/progress.h"
#include "ram/thread.h"

#include "compress_reference.h"
#include "moments.h"
#include "support/temp_folder.h"
#include "support/tiny_model.h"
#include "units.h"

namespace ram {
namespace {

using testing::TempFolder;
using testing::TinyModel;
using testing::write_tiny_model;

class Compress : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    spec_.model_type = GetParam();
    write_tiny_model(folder_ / "model", spec_);
    text_ = random_text(spec_.vocab, {.rows = 5, .length = 24, .seed = 3});
  }
  LanguageModel open(int threads = 2) const {
    return {Checkpoint::open((folder_ / "model").string()), {.threads = threads}};
  }
  static std::vector<UnitFormat> formats_of(const Checkpoint& checkpoint, AffineFormat format) {
    std::vector<UnitFormat> formats;
    for (const Unit& unit : checkpoint.units) {
      const bool fits = unit.quantizable && unit.cols % format.group_size == 0;
      formats.push_back(fits ? UnitFormat(format) : std::nullopt);
    }
    return formats;
  }

  /// KL(model || twin) of each row, summed over its tokens, both run from the embedding on.
  static std::vector<double> divergence(LanguageModel& model, LanguageModel& twin,
                                        const CalibrationText& text) {
    HiddenRows base = model.embed(text.rows);
    model.run_layers(base, 0, model.layers());
    HiddenRows compressed = twin.embed(text.rows);
    twin.run_layers(compressed, 0, twin.layers());
    const std::vector<LogitSource> sources = {{.model = &model, .hidden = &base},
                                              {.model = &twin, .hidden = &compressed}};
    return divergence_sums(text.rows, sources).front();
  }

  TempFolder folder_;
  TinyModel spec_;
  CalibrationText text_;
};

INSTANTIATE_TEST_SUITE_P(Models, Compress, ::testing::Values("llama", "qwen3_moe"));

TEST_P(Compress, TakesTheTextThroughWhatIsStored) {
  for (const Encoder encoder : {Encoder::kMlx, Encoder::kSearch, Encoder::kFeedback}) {
    LanguageModel model = open();
    LanguageModel twin = open();
    const Checkpoint& checkpoint = model.checkpoint();
    const auto formats = formats_of(checkpoint, {4, 32});
    std::vector<int> seen;
    const CompressResult result = compress_units(
        model, formats, text_, {.encoder = encoder, .dtype = DType::kF32}, {},
        [&](const CompressedUnit& unit) {
          seen.push_back(unit.unit);
          twin.set_unit(unit.unit, decoded_rows(checkpoint, unit, {4, 32}, DType::kF32));
        });
    EXPECT_EQ(std::ssize(seen), std::count_if(formats.begin(), formats.end(),
                                              [](const UnitFormat& f) { return f.has_value(); }));
    const std::vector<double> sums = divergence(model, twin, text_);
    EXPECT_GT(result.kl, 0);
    for (size_t row = 0; row < sums.size(); ++row) {
      EXPECT_NEAR(result.row_kl[row], sums[row] / 23, 1e-6 * result.kl);
    }
  }
}

TEST_P(Compress, LosesLessTheMoreItLooksAtTheInputs) {
  double last = INFINITY;
  for (const Encoder encoder : {Encoder::kMlx, Encoder::kSearch, Encoder::kFeedback}) {
    LanguageModel model = open();
    const CompressResult result =
        compress_units(model, formats_of(model.checkpoint(), {3, 32}), text_,
                       {.encoder = encoder, .dtype = DType::kF32}, {}, {});
    double error = 0;
    for (const CompressedUnit& unit : result.units) error += unit.output_error;
    EXPECT_LT(error, last) << encoder_name(encoder);
    last = error;
  }
}

TEST_P(Compress, GivesTheSameBitsWhateverTheThreads) {
  std::vector<std::vector<EncodedMatrix>> found[2];
  for (const int threads : {1, 3}) {
    LanguageModel model = open(threads);
    auto& units = found[threads == 1 ? 0 : 1];
    compress_units(model, formats_of(model.checkpoint(), {4, 64}), text_,
                   {.dtype = DType::kBF16, .sequential = true}, {},
                   [&](const CompressedUnit& unit) { units.push_back(unit.parts); });
  }
  EXPECT_EQ(found[0], found[1]);
}

TEST_P(Compress, UsesWhatAStoreHoldsAndGivesItsRows) {
  LanguageModel model = open();
  const Checkpoint& checkpoint = model.checkpoint();
  const auto formats = formats_of(checkpoint, {5, 32});
  EncodedFolder folder(folder_ / "out");
  const auto make = [&](const std::string& circumstances) {
    return EncodedStore(checkpoint, formats, DType::kBF16, folder, circumstances);
  };
  std::vector<CompressedUnit> units;
  {
    EncodedStore store = make("a");
    compress_units(model, formats, text_, {}, {}, [&](const CompressedUnit& unit) {
      units.push_back(unit);
      store.put(unit);
    });
  }
  EncodedStore store = make("a");
  EncodedStore other = make("b");
  for (const CompressedUnit& unit : units) {
    const std::optional<CompressedUnit> found = store.find(unit.unit);
    ASSERT_TRUE(found.has_value());
    EXPECT_EQ(found->parts, unit.parts);
    EXPECT_EQ(found->squared_error, unit.squared_error);
    EXPECT_EQ(found->output_error, unit.output_error);
    EXPECT_FALSE(other.find(unit.unit).has_value());
    const Unit& use = checkpoint.units[static_cast<size_t>(unit.unit)];
    const auto last = static_cast<int>(use.parts.size()) - 1;
    const EncodedMatrix& part = unit.parts.back();
    const auto codes_per_row = static_cast<size_t>(use.cols * 5 / 32);
    const auto scales_per_row = static_cast<size_t>(use.cols / 32 * 2);
    std::vector<uint32_t> codes(2 * codes_per_row);
    std::vector<std::byte> scales(2 * scales_per_row);
    std::vector<std::byte> biases(2 * scales_per_row);
    store.read_rows(unit.unit, last, 1, 2, codes.data(), scales.data(), biases.data());
    EXPECT_TRUE(std::equal(codes.begin(), codes.end(), part.codes.begin() + 1 * codes_per_row));
    EXPECT_TRUE(std::equal(scales.begin(), scales.end(), part.scales.begin() + 1 * scales_per_row));
    EXPECT_TRUE(std::equal(biases.begin(), biases.end(), part.biases.begin() + 1 * scales_per_row));
  }
  int fresh = 0;
  const CompressResult again = compress_units(
      model, formats, text_, {}, [&](int unit) { return store.find(unit); },
      [&](const CompressedUnit&) { ++fresh; });
  EXPECT_EQ(fresh, 0);
  EXPECT_GT(again.kl, 0);
  // A damaged file counts as missing.
  for (const auto& entry : std::filesystem::directory_iterator(folder.path())) {
    std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(200);
    file.put('x').put('y').put('z');
  }
  for (const CompressedUnit& unit : units) EXPECT_FALSE(store.find(unit.unit).has_value());
  EXPECT_EQ(store.missing_bytes(), 0);  // their sizes are unchanged
}

TEST_P(Compress, SurvivesExpertsToWhichNoTokenComes) {
  LanguageModel model = open();
  const CalibrationText one = random_text(spec_.vocab, {.rows = 1, .length = 2, .seed = 3});
  const auto formats = formats_of(model.checkpoint(), {4, 32});
  const CompressResult result = compress_units(model, formats, one, {}, {}, {});
  EXPECT_TRUE(std::isfinite(result.kl));
  EXPECT_EQ(result.starved_parts, result.parts);
  EXPECT_EQ(result.parts > 0, GetParam() == "qwen3_moe");
}

TEST(CompressDamaged, NamesTheUnitWhoseInputsCannotBeSquared) {
  const TempFolder folder;
  TinyModel spec;
  spec.edit = [](const std::string& name, std::vector<float>& values) {
    if (name == "model.layers.1.mlp.up_proj.weight") {
      for (float& value : values) value *= 1e25F;
    }
    if (name == "model.layers.1.mlp.down_proj.weight") {
      for (float& value : values) value *= 1e-25F;
    }
  };
  write_tiny_model(folder.path(), spec);
  LanguageModel model(Checkpoint::open(folder.path().string()), {.threads = 2});
  const CalibrationText text = random_text(spec.vocab, {.rows = 2, .length = 16, .seed = 3});
  std::vector<UnitFormat> formats;
  for (const Unit& unit : model.checkpoint().units) {
    formats.push_back(unit.quantizable ? UnitFormat(AffineFormat{4, 32}) : std::nullopt);
  }
  for (const Encoder encoder : {Encoder::kFeedback, Encoder::kSearch}) {
    try {
      compress_units(model, formats, text, {.encoder = encoder}, {}, {});
      ADD_FAILURE() << "was compressed";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kCorrupt);
      EXPECT_NE(std::string(error.what()).find("model.layers.1.mlp.down_proj"), std::string::npos)
          << error.what();
    }
  }
}

TEST_P(Compress, MomentsAreThoseOfTheInputsAndSharedByThoseThatShareThem) {
  LanguageModel model = open();
  const Checkpoint& checkpoint = model.checkpoint();
  std::vector<int> units;
  for (size_t u = 0; u < checkpoint.units.size(); ++u) {
    const Unit& unit = checkpoint.units[u];
    if (unit.quantizable && unit.layer == 0) units.push_back(static_cast<int>(u));
  }
  ThreadPool pool(2);
  Moments moments(checkpoint, units, int64_t{1} << 30, pool);
  std::map<std::pair<int, int>, std::vector<double>> expected;
  HiddenRows hidden = model.embed(text_.rows);
  model.run_layers(hidden, 0, 1, [&](const LinearInput& input) {
    moments.add(input);
    auto& sum = expected[{input.unit, input.part}];
    sum.resize(static_cast<size_t>(input.cols * input.cols));
    for (int64_t t = 0; t < input.tokens; ++t) {
      const float* x = input.inputs + t * input.cols;
      for (int64_t i = 0; i < input.cols; ++i) {
        for (int64_t j = 0; j < input.cols; ++j) {
          sum[static_cast<size_t>(i * input.cols + j)] += double{x[i]} * double{x[j]};
        }
      }
    }
  });
  for (const auto& [key, sum] : expected) {
    const SecondMoment found = moments.of(key.first, key.second, 0);
    double largest = 0;
    for (const double value : sum) largest = std::max(largest, std::abs(value));
    for (size_t i = 0; i < sum.size(); ++i) {
      ASSERT_NEAR(double{found.values()[i]}, sum[i], 1e-5 * largest);
    }
  }
  size_t most = 0;
  for (const Moments::Group& group : moments.groups()) most = std::max(most, group.units.size());
  EXPECT_EQ(most, 3U);  // queries, keys, values
  EXPECT_FALSE(moments.next_pass());
}

TEST_P(Compress, GivesTheSameBitsWhateverTheMemory) {
  std::map<int, std::vector<EncodedMatrix>> found[2];
  std::map<int, std::pair<double, int64_t>> known[2];
  int passes[2] = {0, 0};
  for (const bool sequential : {false, true}) {
    for (const bool little : {false, true}) {
      LanguageModel model(Checkpoint::open((folder_ / "model").string()),
                          {.threads = 2, .memory_bytes = little ? 1 : 0});
      compress_units(model, formats_of(model.checkpoint(), {3, 32}), text_,
                     {.sequential = sequential, .memory_bytes = little ? 1 : 0}, {},
                     [&](const CompressedUnit& unit) {
                       found[little ? 1 : 0][unit.unit] = unit.parts;
                       known[little ? 1 : 0][unit.unit] = {unit.output_error, unit.starved_parts};
                     });
    }
    EXPECT_EQ(found[0], found[1]);
    EXPECT_EQ(known[0], known[1]);
  }
  // It really took more than one pass.
  LanguageModel model = open();
  std::vector<int> units;
  for (size_t u = 0; u < model.checkpoint().units.size(); ++u) {
    const Unit& unit = model.checkpoint().units[u];
    if (unit.quantizable && unit.layer == 0) units.push_back(static_cast<int>(u));
  }
  ThreadPool pool(2);
  for (const bool little : {false, true}) {
    Moments moments(model.checkpoint(), units, little ? 1 : int64_t{1} << 30, pool);
    EXPECT_EQ(moments.fits_one_pass(), !little);
    do {
      ++passes[little ? 1 : 0];
      HiddenRows hidden = model.embed(text_.rows);
      model.run_layers(hidden, 0, 1, [&](const LinearInput& input) { moments.add(input); });
    } while (moments.next_pass());
  }
  EXPECT_EQ(passes[0], 1);
  EXPECT_GT(passes[1], 3);  // attention's two inputs, the mlp's two at least
}

// The slow reference: for every unit, both models run from the embedding on, with all units before
// it replaced.
TEST_P(Compress, EncodesEachUnitForWhatThoseBeforeItMakeOfItsInputs) {
  LanguageModel model = open();
  LanguageModel original = open();
  LanguageModel compressed = open();
  const Checkpoint& checkpoint = model.checkpoint();
  const AffineFormat format{3, 32};
  std::vector<CompressedUnit> units;
  compress_units(model, formats_of(checkpoint, format), text_, {.sequential = true}, {},
                 [&](const CompressedUnit& unit) { units.push_back(unit); });
  ThreadPool pool(2);
  int compared = 0;
  int moved = 0;
  for (const CompressedUnit& unit : units) {
    const Unit& use = checkpoint.units[static_cast<size_t>(unit.unit)];
    if (use.layer >= 0) {
      const ByToken after = inputs_of(compressed, text_, unit.unit);
      const ByToken before = inputs_of(original, text_, unit.unit);
      const auto parts = std::ssize(use.parts);
      std::vector<SecondMoment> moments(static_cast<size_t>(parts) + 1, SecondMoment(use.cols));
      std::vector<SecondMoment> held(static_cast<size_t>(parts), SecondMoment(use.cols));
      std::vector<Drift> drifts(static_cast<size_t>(parts) + 1, Drift(use.cols));
      for (int64_t row = 0; row < std::ssize(text_.rows); ++row) {
        for (int part = 0; part < parts; ++part) {
          const std::vector<float> now = matched(after, after, part, row);
          const std::vector<float> then = matched(after, before, part, row);
          const int64_t tokens = std::ssize(now) / use.cols;
          for (const auto to : {static_cast<size_t>(part), static_cast<size_t>(parts)}) {
            moments[to].add(now.data(), tokens, pool);
            drifts[to].add(then.data(), now.data(), tokens, pool);
          }
          if (row == 3) held[static_cast<size_t>(part)].add(now.data(), tokens, pool);
          moved += now != then ? 1 : 0;
        }
      }
      const double damping = damping_of(moments, held, pool);
      for (int part = 0; part < parts; ++part) {
        SecondMoment& moment = moments[static_cast<size_t>(part)];
        Drift& drift = drifts[static_cast<size_t>(part)];
        if (parts > 1) {
          moment.shrink_towards(moments.back(), 64);
          drift.add(drifts.back(), 64.0 / static_cast<double>(moments.back().tokens()));
        }
        std::vector<float> weights(static_cast<size_t>(use.part_weights()));
        read_rows(checkpoint, unit.unit, part, 0, use.rows, DType::kBF16, weights.data());
        const FeedbackEncoder encoder(moment, {.damping = damping}, pool);
        const std::vector<float> aimed = encoder.aim(weights, use.rows, drift, 0.5, pool);
        const EncodeRequest request{.weights = aimed,
                                    .rows = use.rows,
                                    .cols = use.cols,
                                    .format = format,
                                    .dtype = DType::kBF16};
        EXPECT_EQ(encoder.encode(request, pool), unit.parts[static_cast<size_t>(part)])
            << use.name << " " << part;
        ++compared;
      }
    }
    compressed.set_unit(unit.unit, decoded_rows(checkpoint, unit, format, DType::kBF16));
  }
  EXPECT_GE(compared, 14);  // seven linears in each of two layers
  EXPECT_GT(moved, 14);
}

TEST_P(Compress, AimingAtTheOriginalsOutputsLosesLess) {
  const CalibrationText text = random_text(spec_.vocab, {.rows = 24, .length = 64, .seed = 3});
  const CalibrationText other = random_text(spec_.vocab, {.rows = 24, .length = 64, .seed = 4});
  double kl[2] = {0, 0};
  for (const bool sequential : {false, true}) {
    LanguageModel model = open();
    LanguageModel twin = open();
    const Checkpoint& checkpoint = model.checkpoint();
    compress_units(
        model, formats_of(checkpoint, {2, 32}), text, {.sequential = sequential}, {},
        [&](const CompressedUnit& unit) {
          twin.set_unit(unit.unit, decoded_rows(checkpoint, unit, {2, 32}, DType::kBF16));
        });
    const std::vector<double> sums = divergence(model, twin, other);
    kl[sequential ? 1 : 0] = std::accumulate(sums.begin(), sums.end(), 0.0);
  }
  EXPECT_LT(kl[1], kl[0]);
}

TEST_P(Compress, GainsAreWhatTheEncoderGains) {
  LanguageModel model = open();
  const Checkpoint& checkpoint = model.checkpoint();
  const AffineFormat format{4, 32};
  const auto formats = formats_of(checkpoint, format);
  std::vector<int> units;
  for (size_t u = 0; u < formats.size(); ++u) {
    if (formats[u]) units.push_back(static_cast<int>(u));
  }
  const CompressOptions options{.sequential = false};
  // Too short for rows that are held out: gains are those on the text that is encoded for.
  const CalibrationText text = random_text(spec_.vocab, {.rows = 3, .length = 24, .seed = 3});
  EncoderGains gains;
  {
    Study study(folder_ / "gains.db");
    gains = measure_gains(model, "print", units, text, options, study);
  }
  EXPECT_EQ(gains.units.size(), units.size());
  ThreadPool pool(2);
  const CompressResult result = compress_units(model, formats, text, options, {}, {});
  for (const CompressedUnit& unit : result.units) {
    const Unit& use = checkpoint.units[static_cast<size_t>(unit.unit)];
    double plain = 0;
    for (size_t part = 0; part < use.parts.size(); ++part) {
      std::vector<float> weights(static_cast<size_t>(use.part_weights()));
      read_rows(checkpoint, unit.unit, static_cast<int>(part), 0, use.rows, DType::kBF16,
                weights.data());
      const EncodeRequest request{.weights = weights,
                                  .rows = use.rows,
                                  .cols = use.cols,
                                  .format = format,
                                  .dtype = DType::kBF16};
      plain += squared_error(request, mlx_encode(request, pool), {});
    }
    const double ratio = unit.output_error / (plain / unit.sum_squares);
    // Experts are judged by the moments that they were encoded for, which are shrunk towards their
    // layer's; the few rows of a router differ by chance.
    const double slack = use.parts.size() > 1 || use.rows < 16 ? 0.5 : 0.2;
    EXPECT_NEAR(std::log(gains.of(use.name, format_index(format))), std::log(ratio), slack)
        << use.name;
  }
  // Known gains are not measured again; they do not depend on threads and memory.
  Study study(folder_ / "gains.db");
  int measured = 0;
  EXPECT_EQ(measure_gains(model, "print", units, text, options, study,
                          [&](const Progress&) { ++measured; }),
            gains);
  EXPECT_EQ(measured, 0);
  Study fresh(folder_ / "fresh.db");
  LanguageModel other = open(3);
  CompressOptions little = options;
  little.memory_bytes = 1;
  EXPECT_EQ(measure_gains(other, "print", units, text, little, fresh,
                          [&](const Progress&) { ++measured; }),
            gains);
  EXPECT_GT(measured, 0);
}

TEST_P(Compress, GainsAreJudgedByRowsThatAreHeldOut) {
  LanguageModel model = open();
  const Checkpoint& checkpoint = model.checkpoint();
  const auto formats = formats_of(checkpoint, {4, 32});
  std::vector<int> units;
  for (size_t u = 0; u < formats.size(); ++u) {
    if (formats[u] && checkpoint.units[u].layer >= 0) units.push_back(static_cast<int>(u));
  }
  const CompressOptions options{.sequential = false};
  Study study(folder_ / "held.db");
  const EncoderGains gains = measure_gains(model, "print", units, text_, options, study);
  const CompressResult result = compress_units(model, formats, text_, options, {}, {});
  double sum = 0;
  for (const CompressedUnit& unit : result.units) {
    const Unit& use = checkpoint.units[static_cast<size_t>(unit.unit)];
    if (use.layer < 0) continue;
    const double own = unit.output_error / (unit.squared_error / unit.sum_squares);
    sum += std::log(gains.of(use.name, format_index({4, 32})) / own);
  }
  EXPECT_GT(sum / static_cast<double>(units.size()), 0.1);  // feedback fits what it is given
  // They depend on neither threads nor memory.
  LanguageModel other(Checkpoint::open((folder_ / "model").string()),
                      {.threads = 1, .memory_bytes = 1});
  CompressOptions little = options;
  little.memory_bytes = 1;
  Study fresh(folder_ / "fresh held.db");
  EXPECT_EQ(measure_gains(other, "print", units, text_, little, fresh).units, gains.units);
}

TEST_P(Compress, SharesMemoryOrSaysHowMuchItTakes) {
  const Checkpoint checkpoint = Checkpoint::open((folder_ / "model").string());
  std::string said;
  try {
    share_memory(checkpoint, 1, 2, 3, 24);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUsage);
    said = error.what();
  }
  EXPECT_NE(said.find("3 rows of 24 tokens needs"), std::string::npos) << said;
  int64_t last_model = 0;
  for (const int64_t total : {int64_t{1} << 30, int64_t{2} << 30, int64_t{8} << 30}) {
    const CalibrationMemory memory = share_memory(checkpoint, total, 2, 3, 24);
    EXPECT_GT(memory.model, last_model);
    EXPECT_GT(memory.variants, 0);
    EXPECT_GT(memory.moments, 0);
    EXPECT_LT(memory.model + std::max(memory.variants, memory.moments), total);
    LanguageModel model(Checkpoint::open((folder_ / "model").string()),
                        {.threads = 2, .memory_bytes = memory.model});
    EXPECT_GE(model.rows_at_once(24), 1);
    last_model = memory.model;
  }
  // More rows and more threads need more.
  const auto needs = [&](int threads, int64_t rows) {
    int64_t least = 1;
    for (int64_t step = int64_t{1} << 34; step > 0; step /= 2) {
      try {
        share_memory(checkpoint, least + step, threads, rows, 24);
      } catch (const Error&) {
        least += step;
      }
    }
    return least;
  };
  EXPECT_LT(needs(2, 3), needs(3, 3));
  EXPECT_LT(needs(2, 3), needs(2, 300));
}

}  // namespace
}  // namespace ram
