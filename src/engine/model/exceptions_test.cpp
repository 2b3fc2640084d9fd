// A pass that throws leaves the model as it was: nothing watched, no weights replaced, no unused
// memory counted.
#include <algorithm>
#include <cstdlib>
#include <functional>
#include <limits>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include <gtest/gtest.h>
#include <sys/resource.h>

#include "ram/engine.h"
#include "ram/error.h"

#include "support/model_logits.h"
#include "support/sanitizers.h"
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

struct Stop : std::runtime_error {
  Stop() : std::runtime_error("stop") {}
};

TinyModel model_spec() {
  TinyModel spec;
  spec.model_type = "qwen3_moe";
  return spec;
}

class Exceptions : public ::testing::TestWithParam<int64_t> {
 protected:
  Exceptions() { expected_ = logits_of(model_, rows_); }

  LanguageModel open() const {
    write_tiny_model(folder_.path(), model_spec());
    return {Checkpoint::open(folder_.path().string()), {.threads = 2, .memory_bytes = GetParam()}};
  }

  TempFolder folder_;
  std::vector<TokenRow> rows_ = some_rows(3, 40, model_spec().vocab);
  LanguageModel model_ = open();
  decltype(logits_of(model_, rows_)) expected_;
};

// Weights kept, and weights read again for each stage.
INSTANTIATE_TEST_SUITE_P(Memory, Exceptions, ::testing::Values(int64_t{0}, kLittleMemory));

TEST_P(Exceptions, AnObserverThatThrowsIsNotAskedAgain) {
  for (int at = 1; at < 40; at += 3) {
    auto calls = std::make_unique<int>(0);
    {
      HiddenRows hidden = model_.embed(rows_);
      const InputObserver observe = [&, counter = calls.get()](const LinearInput&) {
        if (++*counter == at) throw Stop();
      };
      EXPECT_THROW(model_.run_layers(hidden, 0, model_.layers(), observe), Stop) << at;
      for (const Matrix& row : hidden) EXPECT_EQ(row.rows(), 0);
    }
    // Freed: the sanitizers report any later call to it.
    const int seen = *calls;
    calls.reset();
    EXPECT_EQ(seen, at);
    EXPECT_EQ(logits_of(model_, rows_), expected_) << at;
  }
}

TEST_P(Exceptions, AnObserverOfInputsThatThrowsIsNotAskedAgain) {
  const std::vector<Unit>& units = model_.checkpoint().units;
  for (size_t u = 0; u < units.size(); ++u) {
    if (units[u].layer != 0 || !units[u].quantizable) continue;
    const int unit = static_cast<int>(u);
    HiddenRows hidden = model_.embed(rows_);
    for (int block = 0; block < model_.block_of(unit); ++block) model_.run_block(hidden, 0, block);
    EXPECT_THROW(model_.run_to_inputs(hidden, {&unit, 1},
                                      [&](const LinearInput& input) {
                                        if (input.unit == unit) throw Stop();
                                      }),
                 Stop);
    EXPECT_EQ(logits_of(model_, rows_), expected_) << units[u].name;
  }
}

// Values that cannot be read, as with a failing disk, for every unit.
TEST_P(Exceptions, WeightsThatCannotBeReadLeaveTheOthersAsTheyWere) {
  const std::vector<Unit>& units = model_.checkpoint().units;
  for (size_t u = 0; u < units.size(); ++u) {
    if (!units[u].quantizable) continue;
    const int unit = static_cast<int>(u);
    model_.set_unit(unit, [](int, int64_t, int64_t, float*) { throw Stop(); });
    EXPECT_THROW(logits_of(model_, rows_), Stop) << units[u].name;
    // Few tokens use weights in another form.
    EXPECT_THROW(
        {
          Decoder decoder(model_, 8);
          decoder.feed(std::vector<int32_t>{1, 2});
        },
        Stop)
        << units[u].name;
    model_.restore_unit(unit);
    EXPECT_EQ(logits_of(model_, rows_), expected_) << units[u].name;
  }
}

TEST_P(Exceptions, AWeightThatWasHalfReadIsReadAgain) {
  const std::vector<Unit>& units = model_.checkpoint().units;
  for (size_t u = 0; u < units.size(); ++u) {
    if (!units[u].quantizable || units[u].layer != 1) continue;
    const int unit = static_cast<int>(u);
    bool fails = true;
    model_.set_unit(unit, [&](int, int64_t, int64_t count, float* out) {
      std::fill_n(out, count * units[u].cols, 0.01F);
      if (fails) throw Stop();
    });
    const auto feed = [&] {
      Decoder decoder(model_, 8);
      const auto logits = decoder.feed(std::vector<int32_t>{1, 2, 3});
      return std::vector<float>(logits.begin(), logits.end());
    };
    EXPECT_THROW(feed(), Stop);
    fails = false;
    const std::vector<float> after = feed();
    model_.restore_unit(unit);
    model_.set_unit(unit, [&](int, int64_t, int64_t count, float* out) {
      std::fill_n(out, count * units[u].cols, 0.01F);
    });
    EXPECT_EQ(feed(), after) << units[u].name;
    model_.restore_unit(unit);
  }
}

// Logits that are not finite, for tokens that several decoders take at once. Replaced values of a
// unit are requested whenever they are multiplied: values that were not freed would be used again.
TEST_P(Exceptions, DecodersFedTogetherLeaveNoWeightsAtHand) {
  const int head = model_.checkpoint().head;
  const int64_t cols = model_.checkpoint().units.at(static_cast<size_t>(head)).cols;
  const auto feed = [&] {
    std::vector<Decoder> decoders;
    decoders.reserve(3);
    for (int i = 0; i < 3; ++i) decoders.emplace_back(model_, 8);
    Decoder::feed_each(decoders, std::vector<int32_t>{1, 2, 3});
  };
  float value = std::numeric_limits<float>::max();
  model_.set_unit(head, [&](int, int64_t, int64_t count, float* out) {
    std::fill_n(out, count * cols, value);
  });
  EXPECT_THROW(feed(), Error);
  value = 0.01F;
  EXPECT_NO_THROW(feed());
  model_.restore_unit(head);
  EXPECT_NO_THROW(feed());
  EXPECT_EQ(logits_of(model_, rows_), expected_);
}

// A failure after some of the ids went through all layers, or when the head is loaded, leaves the
// decoder unchanged: repeating the call gives the result of an undisturbed one.
TEST_P(Exceptions, AFeedThatFailsCanBeMadeAgain) {
  const std::vector<Unit>& units = model_.checkpoint().units;
  const int head = model_.checkpoint().head;
  const std::vector<int32_t> ids = {1, 2, 3};
  const std::vector<int32_t> more = {4, 5};
  const Continuation continuation = {.ids = more, .first_scored = 0};
  const auto broken = [&](const auto& call) {
    model_.set_unit(head, [&](int, int64_t, int64_t count, float* out) {
      std::fill_n(out, count * units[static_cast<size_t>(head)].cols,
                  std::numeric_limits<float>::max());
    });
    EXPECT_THROW(call(), Error);
    model_.restore_unit(head);
  };
  const auto fed = [&](Decoder& decoder, const std::vector<int32_t>& what) {
    const auto logits = decoder.feed(what);
    return std::vector<float>(logits.begin(), logits.end());
  };
  Decoder whole(model_, 8);
  const std::vector<float> first = fed(whole, ids);
  const std::vector<float> second = fed(whole, more);

  std::vector<Decoder> decoders;
  decoders.emplace_back(model_, 8);
  Decoder& decoder = decoders.front();
  broken([&] { decoder.feed(ids); });
  EXPECT_EQ(decoder.length(), 0);
  EXPECT_EQ(fed(decoder, ids), first);
  broken([&] { Decoder::feed_each(decoders, std::vector<int32_t>{4}); });
  EXPECT_EQ(decoder.length(), 3);
  broken([&] { (void)decoder.score(more, {&continuation, 1}); });
  EXPECT_EQ(decoder.length(), 3);
  EXPECT_EQ(fed(decoder, more), second);
}

TEST(Decoders, HoldOneRowOfLogits) {
  TempFolder folder;
  TinyModel spec;
  write_tiny_model(folder.path(), spec);
  LanguageModel model(Checkpoint::open(folder.path().string()),
                      {.threads = 2, .memory_bytes = int64_t{1} << 30});
  // Keys and values of two layers, and one float per token of the vocabulary.
  const int64_t width = spec.kv_heads * spec.head_dim();
  const int64_t each = 2 * 4 * 100 * spec.layers * width + 4 * spec.vocab;
  const int64_t scores = 2 * 4 * 100 * spec.heads;  // on two threads
  EXPECT_EQ(model.decoding_bytes(200) - model.decoding_bytes(100),
            2 * 4 * 100 * spec.layers * width + scores);
  EXPECT_EQ(model.state_bytes_per_token(), 2 * 4 * spec.layers * width);
  EXPECT_EQ(model.state_fixed_bytes(), 0);
  const int64_t room = (int64_t{1} << 30) / each;
  EXPECT_LT(model.decoders_at_once(100), room);
  EXPECT_GT(model.decoders_at_once(100), room / 2);
  LanguageModel little(Checkpoint::open(folder.path().string()),
                       {.threads = 2, .memory_bytes = kLittleMemory});
  EXPECT_EQ(little.decoders_at_once(int64_t{1} << 20), 1);
}

#if !RAM_SANITIZED  // there, an allocation that fails ends the program
TEST_P(Exceptions, ADecoderWhoseMemoryIsRefusedGoesOnWithFewerTokens) {
  Decoder decoder(model_, int64_t{1} << 24);
  const std::vector<int32_t> many(size_t{1} << 22, 1);
  rlimit before = {};
  ASSERT_EQ(getrlimit(RLIMIT_AS, &before), 0);
  const rlimit little = {.rlim_cur = rlim_t{1} << 20, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_AS, &little), 0);
  bool refused = false;
  try {
    decoder.feed(many);
  } catch (const std::bad_alloc&) {
    refused = true;
  }
  ASSERT_EQ(setrlimit(RLIMIT_AS, &before), 0);
  EXPECT_TRUE(refused);
  const std::vector<int32_t> few = {1, 2};
  const auto logits = decoder.feed(few);
  Decoder fresh(model_, 8);
  const auto expected = fresh.feed(few);
  EXPECT_TRUE(std::equal(logits.begin(), logits.end(), expected.begin()));
}
#endif

}  // namespace
}  // namespace ram
