// The loop over blocks, with invented logits: the same numbers for any division into blocks,
// nothing computed twice, no finished work lost.
#include "runner.h"

#include <cmath>
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/progress.h"
#include "ram/score_table.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

constexpr int64_t kVocabulary = 37;
constexpr int64_t kLength = 9;

// Depends only on model and token, as in a bigram model.
double made_up_logit(size_t model, TokenId token, int64_t id) {
  const auto seed =
      static_cast<double>(model * 1000 + static_cast<size_t>(token) * 40) + static_cast<double>(id);
  return static_cast<double>(static_cast<float>(4 * std::sin(seed * seed)));
}

struct Calls {
  int made = 0;
  int64_t rows = 0;
  std::vector<size_t> models;  // of each block
  int64_t fail_after_rows = -1;
};

MakeRunner made_up_runner(Calls& calls, std::span<const Scored> all, int64_t rows_at_once) {
  return [&calls, all, rows_at_once](std::span<const Scored> models) {
    calls.made += 1;
    std::vector<size_t> which;
    for (const Scored& scored : models) {
      size_t m = 0;
      while (all[m].key != scored.key) ++m;
      which.push_back(m);
    }
    const auto run = [&calls, which](std::span<const TokenRow> rows,
                                     const std::function<void(const LogitPiece&, int)>& visit) {
      calls.rows += std::ssize(rows);
      calls.models.push_back(which.size());
      if (calls.fail_after_rows >= 0 && calls.rows > calls.fail_after_rows) {
        fail(Code::kInterrupted, "interrupted");
      }
      constexpr int64_t kPiece = 10;
      for (int64_t first = 0; first < kVocabulary; first += kPiece) {
        const int64_t ids = std::min(kPiece, kVocabulary - first);
        for (int64_t r = 0; r < std::ssize(rows); ++r) {
          const TokenRow& row = rows[static_cast<size_t>(r)];
          std::vector<std::vector<float>> logits;
          std::vector<const float*> pointers;
          for (const size_t m : which) {
            std::vector<float>& values = logits.emplace_back();
            values.resize(row.size() * static_cast<size_t>(ids));
            auto next = values.begin();
            for (const TokenId token : row) {
              for (int64_t i = 0; i < ids; ++i) {
                *next++ = static_cast<float>(made_up_logit(m, token, first + i));
              }
            }
          }
          pointers.reserve(logits.size());
          for (const auto& values : logits) pointers.push_back(values.data());
          visit({.row = r,
                 .first_token = 0,
                 .tokens = std::ssize(row),
                 .first_id = first,
                 .ids = ids,
                 .logits = pointers},
                0);
        }
      }
    };
    return Runner{.run = run, .rows_at_once = rows_at_once};
  };
}

TextRows made_up_rows(int64_t count) {
  TextRows text;
  text.text_sha256 = "t";
  text.length = kLength;
  text.rows_total = 2 * count;
  for (int64_t r = 0; r < count; ++r) {
    text.indices.push_back(2 * r + 1);
    TokenRow row;
    for (int64_t t = 0; t < kLength; ++t) {
      row.push_back(static_cast<TokenId>((r * 7 + t * t * 3) % kVocabulary));
    }
    text.rows.push_back(std::move(row));
  }
  return text;
}

std::vector<Scored> made_up_models(int count) {
  std::vector<Scored> models;
  models.reserve(static_cast<size_t>(count));
  for (int m = 0; m < count; ++m) {
    models.push_back({.model = nullptr,
                      .precision = Precision::kF32,
                      .key = {fmt::format("model {}", m), "f32", "t", "p"}});
  }
  return models;
}

double log_sum_exp(size_t model, TokenId token) {
  double sum = 0;
  for (int64_t id = 0; id < kVocabulary; ++id) sum += std::exp(made_up_logit(model, token, id));
  return std::log(sum);
}

class RunnerTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  Study study_{folder_ / "ram.db"};
  TextRows text_ = made_up_rows(11);
  std::vector<Scored> models_ = made_up_models(3);
  Calls calls_;
};

TEST_F(RunnerTest, LossesAndDivergencesAreTheirDefinitions) {
  EXPECT_EQ(complete_rows(text_, models_, study_, made_up_runner(calls_, models_, 4), {}), 0);
  for (size_t m = 0; m < models_.size(); ++m) {
    const auto scores = ScoreTable(study_).scores(models_[m].key);
    const auto divergences = ScoreTable(study_).divergences(models_[0].key, models_[m].key);
    ASSERT_EQ(scores.size(), text_.rows.size());
    ASSERT_EQ(divergences.size(), m == 0 ? 0 : text_.rows.size());
    for (size_t r = 0; r < text_.rows.size(); ++r) {
      const TokenRow& row = text_.rows[r];
      double nll = 0;
      for (size_t t = 0; t + 1 < row.size(); ++t) {
        nll += log_sum_exp(m, row[t]) - made_up_logit(m, row[t], row[t + 1]);
      }
      EXPECT_NEAR(scores.at(text_.indices[r]).nll_sum, nll, 1e-10);
      EXPECT_EQ(scores.at(text_.indices[r]).tokens, kLength - 1);
      if (m == 0) continue;
      const RowDivergence& found = divergences.at(text_.indices[r]);
      ASSERT_EQ(std::ssize(found.kl), kLength - 1);
      for (size_t t = 0; t + 1 < row.size(); ++t) {
        double kl = 0;
        for (int64_t id = 0; id < kVocabulary; ++id) {
          const double a = made_up_logit(0, row[t], id) - log_sum_exp(0, row[t]);
          const double b = made_up_logit(m, row[t], id) - log_sum_exp(m, row[t]);
          kl += std::exp(a) * (a - b);
        }
        EXPECT_NEAR(found.kl[t], kl, 1e-6 * kl);
      }
    }
  }
}

TEST_F(RunnerTest, TheNumbersDoNotDependOnTheBlocks) {
  complete_rows(text_, models_, study_, made_up_runner(calls_, models_, 1), {});
  Study other(folder_ / "other.db");
  complete_rows(text_, models_, other, made_up_runner(calls_, models_, 1000), {});
  for (const Scored& scored : models_) {
    EXPECT_EQ(ScoreTable(study_).scores(scored.key), ScoreTable(other).scores(scored.key));
    EXPECT_EQ(ScoreTable(study_).divergences(models_[0].key, scored.key),
              ScoreTable(other).divergences(models_[0].key, scored.key));
  }
}

TEST_F(RunnerTest, WhatTheStudyHoldsIsNotComputedAgain) {
  complete_rows(text_, models_, study_, made_up_runner(calls_, models_, 4), {});
  const Calls before = calls_;
  EXPECT_EQ(complete_rows(text_, models_, study_, made_up_runner(calls_, models_, 4), {}), 11);
  EXPECT_EQ(calls_.made, before.made);
  // One more model: the reference is run with it, the others are not.
  std::vector<Scored> more = made_up_models(4);
  complete_rows(text_, more, study_, made_up_runner(calls_, more, 4), {});
  EXPECT_EQ(calls_.made, before.made + 1);
  EXPECT_EQ(calls_.models.back(), 2U);
  EXPECT_EQ(ScoreTable(study_).divergences(more[0].key, more[3].key).size(), 11U);
}

TEST_F(RunnerTest, AnInterruptedRunLosesNoFinishedBlock) {
  calls_.fail_after_rows = 7;
  EXPECT_THROW(complete_rows(text_, models_, study_, made_up_runner(calls_, models_, 3), {}),
               Error);
  EXPECT_EQ(ScoreTable(study_).scores(models_[0].key).size(), 6U);
  calls_ = {};
  EXPECT_EQ(complete_rows(text_, models_, study_, made_up_runner(calls_, models_, 3), {}), 6);
  EXPECT_EQ(calls_.rows, 5);
  Study other(folder_ / "other.db");
  complete_rows(text_, models_, other, made_up_runner(calls_, models_, 3), {});
  EXPECT_EQ(ScoreTable(study_).scores(models_[2].key), ScoreTable(other).scores(models_[2].key));
}

TEST_F(RunnerTest, ManyModelsAreRunAFewAtATime) {
  const std::vector<Scored> models = made_up_models(11);
  complete_rows(text_, models, study_, made_up_runner(calls_, models, 100), {});
  for (const size_t at_once : calls_.models) EXPECT_LE(at_once, 5U);
  for (size_t m = 1; m < models.size(); ++m) {
    EXPECT_EQ(ScoreTable(study_).divergences(models[0].key, models[m].key).size(), 11U);
  }
}

TEST_F(RunnerTest, ProgressCountsUpToItsTotal) {
  int64_t last = -1;
  const ProgressFn progress = [&](const Progress& p) {
    EXPECT_EQ(p.counted, "tokens");
    EXPECT_GT(p.done, last);
    EXPECT_LT(p.done, p.total);
    last = p.done;
  };
  complete_rows(text_, models_, study_, made_up_runner(calls_, models_, 2), progress);
  EXPECT_GT(last, 0);
}

TEST_F(RunnerTest, RowsThatAnotherProgramRemovedAreNoDefect) {
  Study other(folder_ / "ram.db");
  const auto lost = [](const std::function<void()>& collected) {
    try {
      collected();
      ADD_FAILURE() << "was collected";
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kMissing) << error.what();
      EXPECT_THAT(error.what(), ::testing::HasSubstr("run the same command again"));
    }
  };
  const OpenedModel model = open_model(RAM_SOURCE_DIR "/models/demo", study_, {});
  models_[0].model = &model;
  models_[0].key.model = model.record.digest;
  int shown = 0;
  const ProgressFn remove = [&](const Progress&) {
    if (++shown != 2) return;
    Study::Transaction transaction(other);
    ScoreTable(other).remove(transaction, model.record.digest);
    transaction.commit();
  };
  complete_rows(text_, models_, study_, made_up_runner(calls_, models_, 4), remove);
  lost([&] { collect(text_, models_[0], study_); });
  lost([&] { collect_divergence(text_, models_[0], models_[1], study_); });
}

TEST(EngineRunner, GivesNoRowsOfAModelThatChangedMeanwhile) {
  const testing::TempFolder folder;
  const std::filesystem::path copy = folder / "model";
  std::filesystem::copy(RAM_SOURCE_DIR "/models/demo", copy);
  Study study(folder / "ram.db");
  const OpenedModel model = open_model(copy.string(), study, {});
  TextRows text = made_up_rows(2);
  const Scored scored{.model = &model,
                      .precision = Precision::kF32,
                      .key = evaluation_key(model, Precision::kF32, text)};
  const MakeRunner make = engine_runner(text, {.threads = 2});
  const ProgressFn touch = [&](const Progress&) {
    std::filesystem::last_write_time(copy / "model.safetensors", std::filesystem::file_time_type());
  };
  EXPECT_THROW(complete_rows(text, {&scored, 1}, study, make, touch), Error);
  EXPECT_TRUE(ScoreTable(study).scores(scored.key).empty());
}

}  // namespace
}  // namespace ram
