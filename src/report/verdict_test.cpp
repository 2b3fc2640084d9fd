// The sentences at the start of a page, and the plots and tables of answers.
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/utf8.h"

#include "gather.h"
#include "sections.h"
#include "test_study.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string verdict_of(Study& study) {
  return verdict_section(gather(study, {}));
}

class VerdictTest : public ReportTest {
 protected:
  void SetUp() override { name_model("original", "base", 1600); }
  /// A folder with the given losses on 60 rows; the original's are 3.
  void folder(const std::string& name, int64_t bytes, const std::function<double(int64_t)>& more) {
    name_model(name, name, bytes);
    EvaluatedRows rows{.key = key_of(name), .scores = {}};
    EvaluatedRows originals{.key = key_of("original"), .scores = {}};
    DivergentRows apart{.reference = key_of("original"), .model = key_of(name), .rows = {}};
    for (int64_t row = 0; row < 60; ++row) {
      rows.scores.push_back({.row = row, .tokens = 1, .nll_sum = 3 + more(row)});
      originals.scores.push_back({.row = row, .tokens = 1, .nll_sum = 3});
      apart.rows.push_back({.row = row, .same_top1 = 1, .kl = {0.1F}});
    }
    ScoreTable(*study_).put(std::vector{rows, originals}, {&apart, 1});
  }
};

TEST_F(VerdictTest, NamesTheSmallestFolderWhoseLossIsSurelySmall) {
  const auto wave = [](double mean, double height) {
    return [=](int64_t row) { return mean + height * (row % 2 == 0 ? 1 : -1); };
  };
  folder("large", 900, wave(0.001, 0.002));
  folder("middle", 800, wave(0.002, 0.004));
  folder("small", 300, wave(0.0095, 0.02));  // below 1 %, not surely
  const std::string text = verdict_of(*study_);
  EXPECT_THAT(text, HasSubstr("base (1.600 kB, 16.00 bits per weight) is compared with 3 folders"));
  EXPECT_THAT(text, HasSubstr("middle (800 B, 8.00 bits per weight) is the smallest whose loss is "
                              "below 1 %, at 95 % for all folders together"));
  EXPECT_THAT(text, HasSubstr("half of the 95 % interval"));
  EXPECT_THAT(text, Not(HasSubstr("surely")));
}

TEST_F(VerdictTest, WithoutOneItNamesTheFolderThatLosesLeast) {
  folder("a", 900, [](int64_t row) { return 0.02 + 0.01 * static_cast<double>(row % 2); });
  folder("b", 300, [](int64_t row) { return 0.03 + 0.01 * static_cast<double>(row % 2); });
  EXPECT_THAT(verdict_of(*study_), HasSubstr("a (900 B, 9.00 bits per weight) loses least"));
}

TEST_F(VerdictTest, ALeastMeanLossThatMayBeChanceIsSaidToBe) {
  const auto wave = [](double mean, int64_t every) {
    return [=](int64_t row) { return mean + 0.05 * (row % every == 0 ? 1 : -1); };
  };
  constexpr const char* kNotSurely =
      "has the least mean loss of those, not surely less than that "
      "of the others: its perplexity changes by";
  folder("a", 900, wave(0.1, 2));
  EXPECT_THAT(verdict_of(*study_), HasSubstr("a (900 B, 9.00 bits per weight) loses least"));
  folder("far", 500, wave(0.3, 2));
  EXPECT_THAT(verdict_of(*study_), HasSubstr("a (900 B, 9.00 bits per weight) loses least"));
  folder("near", 300, wave(0.12, 3));  // 0.103 on average
  EXPECT_THAT(verdict_of(*study_), HasSubstr(kNotSurely));
  EXPECT_THAT(verdict_of(*study_), Not(HasSubstr("loses least")));
}

TEST_F(VerdictTest, AFolderOfFewRowsDoesNotLoseLeast) {
  folder("a", 900, [](int64_t row) { return 0.02 + 0.01 * static_cast<double>(row % 2); });
  name_model("lucky", "lucky", 200);
  compare("original", "lucky", {7}, 2.5, 0.1F);
  ASSERT_EQ(gather(*study_, {}).models.size(), 3U);
  EXPECT_THAT(verdict_of(*study_), HasSubstr("a (900 B, 9.00 bits per weight) loses least"));
}

TEST_F(VerdictTest, OneRowHasNoIntervalToTakeHalfOf) {
  name_model("only", "only", 200);
  compare("original", "only", {7}, 3.5, 0.1F);
  const std::string text = verdict_of(*study_);
  EXPECT_THAT(text, HasSubstr("only (200 B, 2.00 bits per weight) loses least"));
  EXPECT_THAT(text, Not(HasSubstr("interval")));
}

TEST_F(VerdictTest, LossesTellOnlyAfterHolmsCorrection) {
  std::mt19937_64 generator(9);
  std::normal_distribution<double> normal;
  // Ten lossless folders: one raw p below 0.05 is then expected.
  bool found = false;
  for (int trial = 0; trial < 40 && !found; ++trial) {
    testing::TempFolder fresh;
    study_.emplace(fresh / "ram.db");
    name_model("original", "base", 1600);
    for (int f = 0; f < 10; ++f) {
      folder(fmt::format("f{}", f), 300 + f, [&](int64_t) { return 0.02 * normal(generator); });
    }
    for (const char* model : {"original", "f0"}) {
      answer(model, "choice", 0, 4000, [](int64_t i) { return i % 10 < 7; });
    }
    const ReportData data = gather(*study_, {});
    double least = 1;
    for (const ReportModel& model : data.models) {
      if (model.difference) least = std::min(least, model.difference->p);
    }
    if (least >= 0.05 || least * 10 < 0.05) continue;
    found = true;
    EXPECT_THAT(verdict_section(data), HasSubstr("saturated"));
    EXPECT_THAT(verdict_section(data), Not(HasSubstr("losses distinguish them")));
  }
  ASSERT_TRUE(found) << "no draw with a raw p below 0.05";
  folder("worse", 200, [](int64_t row) { return 0.1 + 0.01 * static_cast<double>(row % 3); });
  answer("worse", "choice", 0, 4000, [](int64_t i) { return i % 10 < 7; });
  EXPECT_THAT(verdict_of(*study_), HasSubstr("losses distinguish them"));
}

TEST_F(VerdictTest, LossesTellOnlyOfModelsThatWereAsked) {
  const auto right = [](int64_t i) { return i % 10 < 7; };
  const auto worse = [](int64_t row) { return 0.1 + 0.01 * static_cast<double>(row % 3); };
  folder("same", 300, [](int64_t) { return 0.0; });
  folder("worse", 200, worse);
  answer("original", "choice", 0, 4000, right);
  answer("same", "choice", 0, 4000, right);
  EXPECT_THAT(verdict_of(*study_), HasSubstr("saturated"));
  EXPECT_THAT(verdict_of(*study_), Not(HasSubstr("losses distinguish"))) << "worse was not asked";
  answer("worse", "choice", 0, 100, right);
  EXPECT_THAT(verdict_of(*study_), Not(HasSubstr("losses distinguish"))) << "it answered too few";
  answer("worse", "choice", 100, 3900, right);
  EXPECT_THAT(verdict_of(*study_), HasSubstr("; losses distinguish them"));
}

TEST_F(VerdictTest, LossesAgainstAnOriginalThatWasNotAskedTellNothingOfAnswers) {
  folder("same", 300, [](int64_t) { return 0.0; });
  folder("worse", 200, [](int64_t row) { return 0.1 + 0.01 * static_cast<double>(row % 3); });
  for (const char* model : {"same", "worse"}) {
    answer(model, "choice", 0, 4000, [](int64_t i) { return i % 10 < 7; });
  }
  EXPECT_THAT(verdict_of(*study_), HasSubstr("saturated"));
  EXPECT_THAT(verdict_of(*study_), Not(HasSubstr("losses distinguish")));
  // Nor is it used as the reference for the other.
  EXPECT_THAT(tasks_section(gather(*study_, {})),
              HasSubstr("same: 0 questions that only worse answered, 0 that only same did"));
}

TEST_F(VerdictTest, LossesWithinTheOriginalsRoundingTellNothing) {
  folder("near", 300, [](int64_t row) { return 0.001 + 1e-5 * static_cast<double>(row % 3); });
  for (const char* model : {"original", "near"}) {
    answer(model, "choice", 0, 4000, [](int64_t i) { return i % 10 < 7; });
  }
  EXPECT_THAT(verdict_of(*study_), HasSubstr("losses distinguish"));
  const auto rounding = [&](float kl) {
    DivergentRows own{
        .reference = key_of("original"), .model = key_of("original", "bf16"), .rows = {}};
    for (int64_t row = 0; row < 60; ++row) {
      own.rows.push_back({.row = row, .same_top1 = 1, .kl = {kl}});
    }
    ScoreTable(*study_).put({}, {&own, 1});
    return verdict_of(*study_);
  };
  EXPECT_THAT(rounding(0.06F), HasSubstr("losses distinguish")) << "0.1 is more than 1.5 floors";
  EXPECT_THAT(rounding(0.07F), Not(HasSubstr("losses distinguish")));
}

TEST_F(VerdictTest, SaysWhatQuestionsTellAndWhatTheyCannot) {
  folder("small", 300, [](int64_t) { return 0.0; });
  const auto ask = [&](const std::string& task, int64_t count, int64_t lost, double share) {
    const auto right = [&](int64_t i) { return static_cast<double>(i % 100) < 100 * share; };
    answer("original", task, 0, count, right);
    answer("small", task, 0, count, [&](int64_t i) { return i >= lost && right(i); });
    return verdict_of(*study_);
  };
  EXPECT_THAT(ask("choice", 5, 0, 1), HasSubstr("5 questions can show no difference"));
  EXPECT_THAT(ask("choice", 20, 0, 1),
              HasSubstr("The questions asked: underpowered, 20 questions"));
  EXPECT_THAT(ask("choice", 20, 0, 0.05),  // 5 of them
              HasSubstr("not known to be above chance (25 %, 20 questions); underpowered"));
  EXPECT_THAT(ask("choice", 4000, 0, 0.7), HasSubstr("The questions asked: saturated"));
  EXPECT_THAT(ask("choice", 4000, 0, 0.24), HasSubstr("at chance (25 %)"));
  EXPECT_THAT(ask("mmlu", 40, 12, 1),
              HasSubstr("The questions of mmlu: they still tell small from base"));
}

TEST_F(VerdictTest, WhatIsToldOfModelsThatMayGuessIsSaidToBe) {
  folder("small", 300, [](int64_t) { return 0.0; });
  answer("original", "choice", 0, 60, [](int64_t i) { return i < 15; });
  answer("small", "choice", 0, 60, [](int64_t) { return false; });
  EXPECT_THAT(verdict_of(*study_), HasSubstr("not known to be above chance (25 %, 60 questions); "
                                             "they still tell small from base"));
}

TEST_F(VerdictTest, LongNamesAreCutBetweenCharacters) {
  for (int shift = 0; shift < 3; ++shift) {
    const std::string name = std::string(static_cast<size_t>(shift), 'x') + "三三三三三三三三三三";
    folder(name, 300 + shift, [](int64_t) { return 0.0; });
    study_->put_document({.kind = "plan", .key = name, .text = plan_text("squared", 400)});
    answer(name, "choice", 0, 20, [](int64_t) { return true; });
  }
  answer("original", "choice", 0, 20, [](int64_t) { return true; });
  const std::string page = make_report(*study_, {});
  EXPECT_EQ(well_formed_utf8(page), page.size());
}

TEST_F(VerdictTest, AllOrNoneRightHasAnIntervalThatStaysOnTheAxis) {
  folder("small", 300, [](int64_t) { return 0.0; });
  answer("original", "choice", 0, 20, [](int64_t) { return true; });
  answer("small", "choice", 0, 20, [](int64_t) { return false; });
  const ReportData data = gather(*study_, {});
  ASSERT_EQ(data.tasks.size(), 1U);
  EXPECT_NEAR(data.tasks[0].summaries[0].ci95.low, 0.8316, 1e-4);
  EXPECT_EQ(data.tasks[0].summaries[0].ci95.high, 1);
  EXPECT_EQ(data.tasks[0].summaries[1].ci95.low, 0);
  const std::string page = tasks_section(data);
  EXPECT_THAT(page, HasSubstr("20 of 20 right: 100.00 %, 95 %: 83.16 to 100.00"));
  EXPECT_THAT(page, HasSubstr("0 of 20 right: 0.00 %, 95 %: 0.00 to 16.84"));
  EXPECT_THAT(page, Not(HasSubstr(">120<")));
  EXPECT_THAT(page, Not(HasSubstr(">-20<")));
}

TEST_F(VerdictTest, AnswersOfAnOlderRuleAreNotShownNorSetBesideNewOnes) {
  folder("small", 300, [](int64_t) { return 0.0; });
  folder("large", 900, [](int64_t) { return 0.0; });
  const auto rule = [](int number) {
    return fmt::format("no examples, at most 512 tokens, rule {}", number);
  };
  for (const char* model : {"original", "small", "large"}) {
    answer(
        model, "choice", 0, 50, [](int64_t) { return false; }, rule(2));
  }
  // The small one was not asked again; context lengths may differ between models.
  answer(
      "original", "choice", 0, 50, [](int64_t) { return true; }, rule(10));
  answer(
      "large", "choice", 0, 50, [](int64_t) { return true; },
      "no examples, at most 1024 tokens, rule 10");
  ReportData data = gather(*study_, {});
  ASSERT_EQ(data.tasks.size(), 1U);
  ASSERT_EQ(data.tasks[0].models.size(), 2U);
  for (const AnswerSummary& summary : data.tasks[0].summaries) EXPECT_EQ(summary.right, 50);
  EXPECT_EQ(rule_of(data.tasks[0].record.key.protocol), 10);
  ASSERT_EQ(data.left_out.size(), 1U);
  EXPECT_EQ(data.left_out[0].name, "small, choice");
  EXPECT_EQ(data.left_out[0].why,
            "answered by an older rule (no examples, at most 512 tokens, rule 2)");
  // Other examples make it a different task.
  answer(
      "small", "choice", 0, 50, [](int64_t) { return true; },
      "5 examples of the asked split, at most 512 tokens, rule 10");
  data = gather(*study_, {});
  ASSERT_EQ(data.tasks.size(), 2U);
  EXPECT_EQ(data.tasks[0].models.size() + data.tasks[1].models.size(), 3U);
}

TEST_F(VerdictTest, ALaterRuleOfAModelThatIsNotShownTakesNoAnswersAway) {
  folder("small", 300, [](int64_t) { return 0.0; });
  for (const char* model : {"original", "small"}) {
    answer(model, "choice", 0, 50, [](int64_t) { return true; });
  }
  name_model("other", "other", 500);
  answer(
      "other", "choice", 0, 50, [](int64_t) { return true; },
      "no examples, at most 512 tokens, rule 2");
  const ReportData data = gather(*study_, {});
  ASSERT_EQ(data.tasks.size(), 1U);
  EXPECT_EQ(data.tasks[0].models.size(), 2U);
  ASSERT_EQ(data.left_out.size(), 1U);
  EXPECT_EQ(data.left_out[0].name, "other");
}

TEST_F(VerdictTest, FewerQuestionsAskedOfOneAreNotOneModelOnly) {
  folder("small", 300, [](int64_t) { return 0.0; });
  answer("original", "choice", 0, 4000, [](int64_t i) { return i % 10 < 7; });
  EXPECT_THAT(verdict_of(*study_), HasSubstr("The questions were asked of one model only."));
  answer("small", "choice", 0, 100, [](int64_t i) { return i % 10 < 7; });
  EXPECT_THAT(verdict_of(*study_), HasSubstr("The models were asked different questions"));
}

TEST_F(VerdictTest, AsManyAnswersToOtherQuestionsGiveNoVerdict) {
  folder("small", 300, [](int64_t) { return 0.0; });
  folder("large", 900, [](int64_t) { return 0.0; });
  const auto right = [](int64_t i) { return i % 10 < 7; };
  answer("original", "choice", 0, 20, right);
  answer("small", "choice", 100, 20, right);
  ReportData data = gather(*study_, {});
  EXPECT_FALSE(data.tasks.at(0).verdict.has_value());
  EXPECT_TRUE(data.tasks.at(0).pairs.empty());
  EXPECT_THAT(verdict_section(data), HasSubstr("The models were asked different questions"));
  // A third model shares all questions with one of them, and none with the other.
  answer("large", "choice", 0, 20, right);
  data = gather(*study_, {});
  EXPECT_EQ(data.tasks.at(0).pairs.size(), 1U);
  EXPECT_FALSE(data.tasks.at(0).verdict.has_value());
}

TEST_F(VerdictTest, AModelThatAnsweredFewQuestionsDoesNotTakeTheOthers) {
  folder("small", 300, [](int64_t) { return 0.0; });
  folder("few", 200, [](int64_t) { return 0.0; });
  answer("original", "choice", 0, 4000, [](int64_t i) { return i % 10 < 7; });
  answer("small", "choice", 0, 4000, [](int64_t i) { return i % 10 < 7; });
  answer("few", "choice", 100, 3, [](int64_t) { return false; });
  const ReportData data = gather(*study_, {});
  const ReportTask& task = data.tasks.at(0);
  EXPECT_EQ(task.asked, 4000);
  ASSERT_EQ(task.models.size(), 3U);
  ASSERT_EQ(task.pairs.size(), 3U);
  int64_t shared = 0;
  for (const AnswerPair& pair : task.pairs) shared += pair.questions;
  EXPECT_EQ(shared, 4000 + 3 + 3);
  ASSERT_TRUE(task.verdict.has_value());
  EXPECT_EQ(task.judged.size(), 2U);
  EXPECT_EQ(task.verdict->kind, LadderKind::kSaturated);
  // Nor does it affect the detectable difference in the plot, which three questions would make
  // useless.
  EXPECT_THAT(tasks_section(data), HasSubstr("differences from base below 0."));
  EXPECT_THAT(tasks_section(data), HasSubstr("points are hardly detectable"));
}

}  // namespace
}  // namespace ram
