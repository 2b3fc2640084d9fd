// Folders that were scored on different rows and texts: each keeps its own, and models that are not
// shown are listed.
#include <cmath>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "gather.h"
#include "sections.h"
#include "test_study.h"

namespace ram {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

const ReportModel& model_of(const ReportData& data, const std::string& label) {
  for (const ReportModel& model : data.models) {
    if (model.label == label) return model;
  }
  ADD_FAILURE() << "no " << label;
  return data.models.front();
}

std::vector<std::string> left_out(const ReportData& data) {
  std::vector<std::string> names;
  names.reserve(data.left_out.size());
  for (const LeftOut& left : data.left_out) names.push_back(left.name + ": " + left.why);
  return names;
}

std::vector<int64_t> first_rows(int64_t count) {
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < count; ++row) rows.push_back(row);
  return rows;
}

TEST_F(ReportTest, AFolderOfOneRowDoesNotTakeTheOthersRows) {
  name_model("original", "base", 1600);
  for (const auto& [digest, bytes] : {std::pair{"a", 300}, {"b", 400}, {"c", 500}}) {
    name_model(digest, digest, bytes);
  }
  compare("original", "b", first_rows(40), 3.1, 0.1F);
  compare("original", "c", first_rows(40), 3.2, 0.2F);
  compare("original", "a", {7}, 3.3, 0.05F);  // the smallest, and the first to be examined
  const ReportData data = gather(*study_, {});
  EXPECT_EQ(data.rows.size(), 40U);
  EXPECT_EQ(data.tokens, 120);
  EXPECT_EQ(model_of(data, "b").rows.size(), 40U);
  EXPECT_FALSE(model_of(data, "b").partial);
  const ReportModel& one = model_of(data, "a");
  EXPECT_EQ(one.rows.size(), 1U);
  EXPECT_TRUE(one.partial);
  EXPECT_NEAR(one.difference->delta, 0.3 / 3, 1e-9);
  EXPECT_TRUE(std::isnan(one.difference->standard_error));
  EXPECT_NEAR(one.kl->delta, 0.05 * 3.1 / 3, 1e-6);
  // The KL of a single row makes no other folder look worse.
  EXPECT_FALSE(model_of(data, "b").dominated);
  EXPECT_TRUE(model_of(data, "c").dominated);
  EXPECT_THAT(left_out(data), IsEmpty());
  const std::string page = make_report(*study_, {});
  EXPECT_THAT(page, HasSubstr("on 120 tokens in 40 rows"));
  EXPECT_THAT(page, HasSubstr("Scored on fewer than the 40 rows: a (1 row)"));
  EXPECT_THAT(page, Not(HasSubstr(">nan<")));
}

TEST_F(ReportTest, RowsOfTheOriginalThatNoFolderHasAreNotUsed) {
  name_model("original", "base", 1600);
  name_model("a", "a", 300);
  compare("original", "a", first_rows(10), 3.1, 0.1F);
  EvaluatedRows more{.key = key_of("original"), .scores = {}};
  for (int64_t row = 10; row < 90; ++row) {
    more.scores.push_back({.row = row, .tokens = 3, .nll_sum = 9});
  }
  ScoreTable(*study_).put({&more, 1}, {});
  const ReportData data = gather(*study_, {});
  EXPECT_EQ(data.rows, first_rows(10));
  EXPECT_FALSE(model_of(data, "a").partial);
  EXPECT_LT(data.models.front().summary.mean, 5) << "of the rows that are compared";
}

TEST_F(ReportTest, WhatSharesNoRowOrAnotherTextIsListed) {
  fill();
  name_model("rows", "other-rows", 450);
  const EvaluatedRows rows{.key = key_of("rows"),
                           .scores = {{.row = 7, .tokens = 3, .nll_sum = 1}}};
  ScoreTable(*study_).put({&rows, 1}, {});
  const DivergentRows apart{
      .reference = key_of("original"), .model = key_of("rows"), .rows = {{.row = 7, .kl = {1}}}};
  ScoreTable(*study_).put({}, {&apart, 1});
  name_model("alone", "alone", 460);
  const EvaluatedRows own{.key = key_of("alone"),
                          .scores = {{.row = 0, .tokens = 3, .nll_sum = 1}}};
  ScoreTable(*study_).put({&own, 1}, {});
  name_model("away", "away", 470);
  compare("original", "away", first_rows(4), 3.1, 0.1F, "0123456789abcdef");
  name_model("asked", "asked", 480);
  answer("asked", "mmlu", 0, 10, [](int64_t) { return true; });
  name_model("never", "never-run", 490);
  const ReportData data = gather(*study_, {});
  EXPECT_EQ(data.rows.size(), 4U);
  EXPECT_THAT(left_out(data),
              ElementsAre("alone: scored on this text, but not compared with base",
                          "asked: seen on the questions of mmlu", "away: seen on text 0123456789ab",
                          "other-rows: scored on other rows than base",
                          "text 0123456789ab: text of 2 folders, shown by --text 0123456789ab"));
  const std::string page = make_report(*study_, {});
  EXPECT_THAT(page, HasSubstr("In the study, but not on this page: alone (scored on this text"));
  EXPECT_THAT(page, HasSubstr("--text NAME"));
}

TEST_F(ReportTest, AnotherTextOfTheSameFoldersIsListed) {
  name_model("original", "base", 1600);
  name_model("a", "a", 300);
  for (const char* text : {"1111111111111111", "2222222222222222"}) {
    compare("original", "a", first_rows(10), 3.1, 0.1F, text);
    study_->put_document({.kind = "text", .key = text, .text = "same.txt"});
  }
  // The later of equals is shown; the other is listed by digest, because both have the same name.
  EXPECT_THAT(left_out(gather(*study_, {})),
              ElementsAre("same.txt: text of 2 folders, shown by --text 111111111111"));
  EXPECT_EQ(gather(*study_, {.text = "111111111111"}).text, "1111111111111111");
}

TEST_F(ReportTest, AFolderScoredOnThisTextByAnotherProtocolIsListedSo) {
  fill();
  name_model("long", "long", 450);
  compare("original", "long", first_rows(4), 3.1, 0.1F, "text", "length 8 rule 1");
  EXPECT_THAT(left_out(gather(*study_, {})),
              ElementsAre("long: scored on this text with other rows (length 8 rule 1)"));
}

TEST_F(ReportTest, TheTextIsChosenByItsNameOrDigest) {
  fill();
  name_model("away", "away", 470);
  compare("original", "away", first_rows(6), 3.1, 0.1F, "0123456789abcdef");
  study_->put_document({.kind = "text", .key = "0123456789abcdef", .text = "wiki.txt"});
  study_->put_document({.kind = "text", .key = "text", .text = "held<out>.txt"});
  EXPECT_EQ(gather(*study_, {}).text_name, "held<out>.txt");
  for (const char* name : {"wiki.txt", "some/folder/wiki.txt", "012345", "0123456789abcdef"}) {
    const ReportData data = gather(*study_, {.text = name});
    EXPECT_EQ(data.text, "0123456789abcdef") << name;
    EXPECT_EQ(data.models.size(), 2U);
    EXPECT_EQ(data.rows.size(), 6U);
    EXPECT_THAT(left_out(data),
                ElementsAre("large: seen on held<out>.txt", "small: seen on held<out>.txt",
                            "held<out>.txt: text of 3 folders, shown by --text 'held<out>.txt'"));
  }
  const std::string page = make_report(*study_, {.text = "held<out>.txt"});
  EXPECT_THAT(page, HasSubstr("in 4 rows of held&lt;out&gt;.txt"));
  for (const char* name : {"none.txt", "0123", "0"}) {
    const Error error = error_of({.text = name, .study = "s.db"});
    EXPECT_EQ(error.code(), Code::kMissing);
    EXPECT_THAT(error.what(), AllOf(HasSubstr("s.db"), HasSubstr("held<out>.txt, wiki.txt")))
        << name;
  }
  EXPECT_EQ(error_of({.model = "large", .text = "wiki.txt"}).code(), Code::kMissing);
}

TEST_F(ReportTest, RowByRowTheFolderWithTheLowerRanksIsBetter) {
  // A little better in the middle rows, which are the majority, and much worse in the others.
  std::vector<double> base;
  std::vector<double> small;
  for (int i = 0; i < 100; ++i) {
    base.push_back(6 + 0.01 * i);
    const double step = 1e-5 * i;
    small.push_back(base.back() + (i >= 20 && i < 80 ? -0.001 - step : 0.03 + step));
  }
  add_model("original", "base", 1600, base);
  add_model("small", "small", 400, small);
  add_divergence("small", 0.1F);
  const std::string page = rows_section(gather(*study_, {}));
  EXPECT_THAT(page, HasSubstr("base is better (p = "));
  EXPECT_THAT(page, Not(HasSubstr("small is better")));
}

TEST_F(ReportTest, ALaterRuleOfScoringGoesBeforeMoreFoldersOfAnEarlierOne) {
  fill();
  for (const char* rule : {"length 4 rule 2", "length 4 rule 10"}) {
    compare("original", "small", first_rows(5), 3.1, 0.1F, "text", rule);
    const ReportData data = gather(*study_, {});
    EXPECT_EQ(data.protocol, rule);
    EXPECT_EQ(data.models.size(), 2U);
  }
  EXPECT_EQ(rule_of("length 4 bos start rule 12"), 12);
  EXPECT_EQ(rule_of("length 4"), 0);
  EXPECT_EQ(rule_of("rule x"), 0);
}

TEST_F(ReportTest, LabelsDifferWhateverFoldersAreCalled) {
  fill();
  for (const char* digest : {"x1", "x2", "x3"}) {
    add_model(digest, digest == std::string("x3") ? "same (2)" : "same", 700, {3, 4, 5, 6});
    add_divergence(digest, 0.1F);
  }
  std::set<std::string> labels;
  const ReportData data = gather(*study_, {});
  for (const ReportModel& model : data.models) labels.insert(model.label);
  EXPECT_EQ(labels.size(), data.models.size());
}

TEST_F(ReportTest, NoPathOfTheMachineIsOnThePage) {
  fill();
  add_model("more", "more", 700, {3, 4, 5, 6});
  add_divergence("more", 0.1F);
  const std::string page = make_report(*study_, {.study = "/secret/place/my.db"});
  EXPECT_THAT(page, Not(HasSubstr("/secret")));
  EXPECT_THAT(page, Not(HasSubstr("place/")));
  EXPECT_THAT(page, HasSubstr("--study my.db"));
}

// Any subset of a study's possible content makes a page, and none of its numbers is NaN.
TEST_F(ReportTest, AnySubsetOfAStudyMakesAPage) {
  std::mt19937 generator(11);
  const auto chance = [&](unsigned percent) { return generator() % 100 < percent; };
  for (int trial = 0; trial < 60; ++trial) {
    testing::TempFolder folder;
    study_.emplace(folder / "ram.db");
    name_model("original", "base", 1600);
    bool anything = false;
    for (const char* digest : {"a", "b", "c", "d"}) {
      name_model(digest, chance(20) ? "same" : digest, 300 + 10 * digest[0]);
      for (const char* text : {"text", "0123456789abcdef"}) {
        if (!chance(50)) continue;
        std::vector<int64_t> rows;
        for (int64_t row = 0; row < 12; ++row) {
          if (chance(trial % 3 == 0 ? 15 : 70)) rows.push_back(row);
        }
        if (rows.empty()) continue;
        anything = true;
        if (chance(70)) {
          compare("original", digest, rows, 3 + 0.1 * digest[0] / 100, chance(20) ? 0 : 0.1F, text,
                  chance(80) ? "length 4 rule 1" : "length 4 rule 2");
        } else {
          EvaluatedRows own{.key = key_of(digest, "f32", text), .scores = {}};
          for (const int64_t row : rows) own.scores.push_back({row, 3, 3.5});
          ScoreTable(*study_).put({&own, 1}, {});
        }
      }
      if (chance(trial % 2 == 0 ? 90 : 50)) {
        anything = true;
        // In every second study each model has the same number of questions, and some models share
        // none.
        const int64_t count = chance(50) ? 5 : 30;
        answer(
            digest, chance(50) ? "mmlu" : "choice", chance(40) ? 20 : 0,
            trial % 2 == 0 ? 20 : count,
            [&](int64_t question) { return (question + digest[0]) % 3 != 0; },
            chance(80) ? "no examples, at most 512 tokens, rule 1"
                       : "no examples, at most 512 tokens, rule 2");
      }
      if (chance(50)) {
        study_->put_document({.kind = "plan",
                              .key = digest,
                              .text = plan_text(chance(50) ? "uniform" : "ram", 400)});
      }
    }
    if (!anything) {
      EXPECT_EQ(error_of().code(), Code::kMissing);
      continue;
    }
    const std::string page = make_report(*study_, {});
    for (const char* never : {"nan", "inf"}) {
      for (size_t at = page.find(never); at != std::string::npos; at = page.find(never, at + 1)) {
        const bool letter = std::isalpha(static_cast<unsigned char>(page[at - 1])) != 0 ||
                            std::isalpha(static_cast<unsigned char>(page[at + 3])) != 0;
        ASSERT_TRUE(letter) << trial << ": " << page.substr(at - 100, 200);
      }
    }
  }
}

}  // namespace
}  // namespace ram
