// Answers: what is counted, and what is resampled.
#include "ram/answers.h"

#include <gtest/gtest.h>

#include "ram/cancellation.h"
#include "ram/error.h"

namespace ram {
namespace {

TEST(CompareAnswers, CountsFlipsAndResamplesSubjects) {
  std::vector<TaskAnswer> a;
  std::vector<TaskAnswer> b;
  for (int64_t i = 0; i < 200; ++i) {
    TaskAnswer answer{.question = i,
                      .group = i < 100 ? "one" : "two",
                      .answer = 0,
                      .choice = 0,
                      .log_likelihoods = {-1, -2}};
    a.push_back(answer);
    answer.choice = i < 20 || i == 150 ? 1 : 0;
    b.push_back(answer);
  }
  a[199].choice = 1;
  const std::vector<std::span<const TaskAnswer>> both = {b, a};
  const auto pairs = compare_answers(both, 42, 1);
  ASSERT_EQ(pairs.size(), 1U);
  EXPECT_EQ(pairs[0].flips.gained, 21);
  EXPECT_EQ(pairs[0].flips.lost, 1);
  EXPECT_NEAR(pairs[0].difference, 0.1, 1e-12);
  // Two subjects with 0.2 and 0: resampling cannot go beyond these, but two say next to nothing
  // about others (0.1 and 12.7 times 0.1).
  EXPECT_EQ(pairs[0].ci95.low, -1);
  EXPECT_EQ(pairs[0].ci95.high, 1);
  EXPECT_LT(pairs[0].mcnemar_p, 1e-3);
  EXPECT_NEAR(pairs[0].p, 0.5, 1e-9) << "the difference comes from only one of two subjects";
}

TEST(CompareAnswers, TheIntervalHoldsStudentsOverFewSubjects) {
  std::vector<TaskAnswer> a;
  std::vector<TaskAnswer> b;
  std::vector<double> sums;
  for (const int64_t lost : {1, 2, 1, 3}) {
    for (int64_t i = 0; i < 100; ++i) {
      TaskAnswer answer{.question = std::ssize(a),
                        .group = std::to_string(sums.size()),
                        .answer = 0,
                        .choice = 0,
                        .log_likelihoods = {-1, -2}};
      a.push_back(answer);
      answer.choice = i < lost ? 1 : 0;
      b.push_back(answer);
    }
    sums.push_back(-static_cast<double>(lost));
  }
  const std::vector<std::span<const TaskAnswer>> both = {a, b};
  const AnswerPair pair = compare_answers(both, 42, 1).front();
  const std::vector<int64_t> counts(sums.size(), 100);
  const PairedDifference student = paired_difference(sums, counts);
  EXPECT_LE(pair.ci95.low, student.t95.low);
  EXPECT_GE(pair.ci95.high, student.t95.high);
  EXPECT_EQ(pair.p, std::max(student.p, pair.mcnemar_p));
}

TEST(CorrectPairs, WhatIsDetectableIsSoAmongAllPairs) {
  AnswerPair one;
  one.questions = 600;
  one.flips = {20, 10};
  one.ci95 = flips_interval(one.flips, one.questions);
  one.p = mcnemar_test(one.flips);
  std::vector<AnswerPair> many(10, one);
  std::vector<AnswerPair*> all;
  all.reserve(many.size());
  for (AnswerPair& pair : many) all.push_back(&pair);
  correct_pairs({all.data(), 1});
  EXPECT_EQ(many[0].detectable, detectable_difference(600, 30));
  EXPECT_EQ(many[0].p_holm, one.p);
  correct_pairs(all);
  EXPECT_GT(many[0].detectable, 1.15 * detectable_difference(600, 30));
  EXPECT_NEAR(many[0].p_holm, std::min(1.0, 10 * one.p), 1e-12);
  const std::vector<AnswerSummary> summaries = {{.questions = 600, .right = 400},
                                                {.questions = 600, .right = 410}};
  many[0].a = 1;
  const auto needed = [&](int64_t comparisons) {
    return judge_answers(std::vector{16.0, 4.0}, summaries, {many.data(), 1}, comparisons)
        .questions_needed.value();
  };
  EXPECT_GT(needed(10), needed(1) * 5 / 4)
      << "the verdict counts all pairs, and so does its advice";
}

TEST(CorrectPairs, CanBeInterrupted) {
  AnswerPair pair;
  pair.questions = 20;
  AnswerPair* const one = &pair;
  const Cancellation cancellation;
  const CancelScope scope(cancellation);
  EXPECT_NO_THROW(correct_pairs({&one, 1}));
  cancellation.request();
  EXPECT_THROW(correct_pairs({&one, 1}), Error);
}

TEST(CorrectPairs, WhereSubjectsDifferLessIsDetectableAndNoNumberOfQuestionsIsNamed) {
  AnswerPair pair;
  pair.a = 1;
  pair.questions = 1000;
  pair.flips = {50, 50};
  pair.ci95 = {-0.1, 0.1};
  AnswerPair* const one = &pair;
  const auto detectable = [&](int64_t subjects, double error) {
    pair.subjects = subjects;
    pair.subject_error = error;
    correct_pairs({&one, 1});
    return pair.detectable;
  };
  const std::vector<AnswerSummary> summaries = {{.questions = 1000, .right = 600},
                                                {.questions = 1000, .right = 600}};
  const auto verdict = [&] {
    return judge_answers(std::vector{16.0, 4.0}, summaries, {&pair, 1}, 1);
  };
  const double alone = detectable_difference(1000, 100);
  EXPECT_EQ(detectable(0, 0), alone);
  EXPECT_EQ(verdict().kind, LadderKind::kUnderpowered);
  EXPECT_TRUE(verdict().questions_needed.has_value());
  EXPECT_EQ(detectable(57, 0.005), alone) << "questions differ by 0.01, subjects by no more";
  // Twice the error, and Student's quantile over the normal one: 2.26 / 1.96 and 12.7 / 1.96.
  EXPECT_NEAR(detectable(10, 0.02), 2.31 * alone, 0.2 * alone);
  EXPECT_EQ(verdict().kind, LadderKind::kUnderpowered);
  EXPECT_FALSE(verdict().questions_needed.has_value());
  EXPECT_GT(detectable(2, 0.02), 10 * alone);
}

TEST(SummarizeAnswers, CountsRightAnswersSubjectsAndCutQuestions) {
  const std::vector<TaskAnswer> answers = {{.question = 0,
                                            .group = "x",
                                            .answer = 1,
                                            .choice = 1,
                                            .cut = 3,
                                            .log_likelihoods = {-1, -2}},
                                           {.question = 1,
                                            .group = "x",
                                            .answer = 1,
                                            .choice = 0,
                                            .cut = 0,
                                            .log_likelihoods = {-1, -2}},
                                           {.question = 2,
                                            .group = "y",
                                            .answer = 0,
                                            .choice = 0,
                                            .cut = 0,
                                            .log_likelihoods = {-1, -2}}};
  const AnswerSummary summary = summarize_answers(answers);
  EXPECT_EQ(summary.right, 2);
  EXPECT_EQ(summary.questions, 3);
  EXPECT_NEAR(summary.accuracy, 2.0 / 3, 1e-15);
  EXPECT_EQ(summary.cut_questions, 1);
  EXPECT_EQ(summary.groups.at("x"), std::pair(int64_t{1}, int64_t{2}));
}

}  // namespace
}  // namespace ram
