// Verdicts on answers to questions of several subjects, by simulation: models that are better in
// some subjects and worse in others.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <string>

#include <gtest/gtest.h>

#include "ram/answers.h"
#include "ram/statistics.h"

#include "test_trials.h"

namespace ram {
namespace {

class SubjectsSimulation : public Simulation {};

// Answers to 57 subjects of 60 questions by models that are equal overall, each better in some
// subjects and worse in others.
std::vector<std::vector<TaskAnswer>> draw_answers(Generator& generator, int models) {
  std::vector<std::vector<TaskAnswer>> answers(static_cast<size_t>(models));
  std::uniform_real_distribution<double> uniform;
  for (auto& own : answers) {
    for (int64_t i = 0, subject = 0; subject < 57; ++subject) {
      const double shift = 0.06 * normal(generator);
      for (const int64_t end = i + 60; i < end; ++i) {
        constexpr double kFlips = 0.1;
        const bool flips = uniform(generator) < kFlips;
        const bool right = flips ? uniform(generator) < 0.5 + shift / (2 * kFlips) : i % 10 < 6;
        own.push_back({.question = i,
                       .group = std::to_string(subject),
                       .answer = 0,
                       .choice = right ? 0 : 1,
                       .log_likelihoods = {-1, -1, -1, -1}});
      }
    }
  }
  return answers;
}

bool tells(const std::vector<std::vector<TaskAnswer>>& answers, std::vector<AnswerPair> pairs,
           double AnswerPair::*p) {
  std::vector<double> p_values;
  p_values.reserve(pairs.size());
  for (const AnswerPair& pair : pairs) p_values.push_back(pair.*p);
  const std::vector<double> adjusted = holm(p_values);
  for (size_t i = 0; i < pairs.size(); ++i) {
    pairs[i].p_holm = adjusted[i];
    pairs[i].detectable = 0;                                  // not needed here, and slow
    if (p == &AnswerPair::mcnemar_p) pairs[i].ci95 = {1, 1};  // only McNemar's test
  }
  std::vector<AnswerSummary> summaries;
  summaries.reserve(answers.size());
  for (const auto& own : answers) summaries.push_back(summarize_answers(own));
  const std::vector<double> bits(answers.size(), 4);
  return judge_answers(bits, summaries, pairs, std::ssize(pairs)).kind == LadderKind::kTells;
}

TEST_F(SubjectsSimulation, EqualModelsAreSeldomToldApartWhereSubjectsDiffer) {
  for (const int models : {2, 4}) {
    constexpr int kTrials = 400;
    std::atomic<int> by_questions = 0;
    const double told = share_of(kTrials, [&](Generator& generator) {
      const auto answers = draw_answers(generator, models);
      const std::vector<std::span<const TaskAnswer>> spans(answers.begin(), answers.end());
      const std::vector<AnswerPair> pairs = compare_answers(spans, generator(), 1);
      by_questions += tells(answers, pairs, &AnswerPair::mcnemar_p) ? 1 : 0;
      return tells(answers, pairs, &AnswerPair::p);
    });
    std::printf("%d equal models, subjects differ: told apart in %.1f %%, by McNemar in %.1f %%\n",
                models, 100 * told, 100.0 * by_questions / kTrials);
    EXPECT_LE(told, 0.075);
    EXPECT_GE(by_questions, 0.13 * kTrials) << "the reason to look at subjects";
  }
}

// Two models with `difference` between their means over all subjects, more or less in each.
std::vector<std::vector<TaskAnswer>> draw_apart(Generator& generator, int64_t subjects,
                                                int64_t questions, double difference) {
  std::vector<std::vector<TaskAnswer>> answers(2);
  std::uniform_real_distribution<double> uniform;
  for (int64_t i = 0, subject = 0; subject < subjects; ++subject) {
    constexpr double kFlips = 0.1;
    const double apart = std::clamp(difference + 0.02 * normal(generator), -kFlips, kFlips);
    for (const int64_t end = i + questions / subjects; i < end; ++i) {
      const double at = uniform(generator);
      for (int model = 0; model < 2; ++model) {
        const bool better = at < (kFlips + apart) / 2;
        const bool right = at < kFlips ? better == (model == 1) : i % 10 < 6;
        answers[static_cast<size_t>(model)].push_back({.question = i,
                                                       .group = std::to_string(subject),
                                                       .answer = 0,
                                                       .choice = right ? 0 : 1,
                                                       .log_likelihoods = {}});
      }
    }
  }
  return answers;
}

TEST_F(SubjectsSimulation, TwoPointsApartIsSeldomSaturatedWhereSubjectsDiffer) {
  for (const int64_t subjects : {2, 3, 10, 57}) {
    const auto saturated = [&](int64_t questions, double difference) {
      return share_of(800, [&](Generator& generator) {
        const auto answers = draw_apart(generator, subjects, questions, difference);
        const std::vector<std::span<const TaskAnswer>> spans(answers.begin(), answers.end());
        const Interval ci95 = compare_answers(spans, generator(), 1).front().ci95;
        return ci95.low >= -kTellingDifference && ci95.high <= kTellingDifference;
      });
    };
    const double apart = saturated(8000, kTellingDifference);
    std::printf("%ld subjects, 2 points apart: saturated in %.1f %%\n", static_cast<long>(subjects),
                100 * apart);
    EXPECT_LE(apart, 0.04);
    if (subjects == 57) {
      EXPECT_GE(saturated(8000, 0), 0.8) << "and equal models are recognized as equal";
    }
  }
}

// A difference that one draw of equal models calls detectable is detected in most other draws of
// models that far apart.
TEST_F(SubjectsSimulation, WhatIsDetectableIsToldWhereSubjectsDiffer) {
  for (const int64_t subjects : {10, 57}) {
    const auto draw = [&](Generator& generator, double difference) {
      const auto answers = draw_apart(generator, subjects, 4000, difference);
      const std::vector<std::span<const TaskAnswer>> spans(answers.begin(), answers.end());
      return compare_answers(spans, generator(), 1).front();
    };
    double by_both = 0;
    double by_mcnemar = 0;
    constexpr int kDraws = 20;
    for (uint64_t i = 0; i < kDraws; ++i) {
      Generator generator(i);
      AnswerPair pair = draw(generator, 0);
      AnswerPair* const one = &pair;
      correct_pairs({&one, 1});
      by_both += pair.detectable / kDraws;
      by_mcnemar +=
          detectable_difference(pair.questions, pair.flips.gained + pair.flips.lost) / kDraws;
    }
    const auto told = [&](double difference) {
      return share_of(400, [&](Generator& generator) {
        const AnswerPair pair = draw(generator, difference);
        return pair.p < kLevel && !pair.ci95.holds(0);
      });
    };
    const double share = told(by_both);
    std::printf("%ld subjects: %.2f points told in %.1f %%, McNemar's %.2f in %.1f %%\n",
                static_cast<long>(subjects), 100 * by_both, 100 * share, 100 * by_mcnemar,
                100 * told(by_mcnemar));
    EXPECT_GE(share, 0.72);
  }
}

}  // namespace
}  // namespace ram
