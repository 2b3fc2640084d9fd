// Results of tasks, in words.
#include "ram/tasks_verdict.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/answers.h"
#include "ram/tasks_json.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// Two models that answered `first` and `second` of 60 questions with four choices correctly, those
// of the second among those of the first.
TaskRun run_of(int64_t first, int64_t second) {
  TaskRun run;
  constexpr int64_t kQuestions = 60;
  run.tasks.push_back({.info = known_tasks().front(), .total = kQuestions});
  run.tasks.front().questions.resize(kQuestions);
  for (const int64_t right : {first, second}) {
    TaskOutcome outcome;
    for (int64_t i = 0; i < kQuestions; ++i) {
      outcome.answers.push_back({.question = i,
                                 .answer = 0,
                                 .choice = i < right ? 0 : 1,
                                 .log_likelihoods = {-1, -1, -1, -1}});
    }
    outcome.summary = summarize_answers(outcome.answers);
    AskedModel& model = run.models.emplace_back();
    model.model.bits_per_weight = run.models.size() == 1 ? 16 : 4;
    model.tasks.push_back(std::move(outcome));
  }
  const std::vector<std::span<const TaskAnswer>> answers = {run.models[0].tasks[0].answers,
                                                            run.models[1].tasks[0].answers};
  TaskPair pair;
  static_cast<AnswerPair&>(pair) = compare_answers(answers, 42, 1).front();
  AnswerPair* const only = &pair;
  correct_pairs({&only, 1});
  const std::vector<AnswerSummary> summaries = {run.models[0].tasks[0].summary,
                                                run.models[1].tasks[0].summary};
  run.verdicts.emplace_back(judge_answers(std::vector{16.0, 4.0}, summaries, {only, 1}, 1));
  run.pairs.push_back(pair);
  return run;
}

std::string text_of(const TaskRun& run) {
  return task_verdict(run, 0, {"base", "small"});
}

TEST(TasksJson, ModelsBelowChanceAreAtMostAtIt) {
  const auto verdict = [](int64_t right) {
    return tasks_json(run_of(right, right), {"base", "small"}).at("verdicts").at(0);
  };
  EXPECT_EQ(verdict(2).at("at_chance"), true);  // up to 11.5 %
  EXPECT_EQ(verdict(2).at("above_chance"), false);
  EXPECT_EQ(verdict(15).at("at_chance"), false);
  EXPECT_THAT(text_of(run_of(2, 2)), StartsWith("below chance (25 %); underpowered"));
}

TEST(TaskText, WhatIsToldOfModelsThatMayGuessIsSaidToBe) {
  EXPECT_THAT(text_of(run_of(15, 0)),
              HasSubstr("not known to be above chance (25 %, 60 questions); still tells small"));
  EXPECT_THAT(text_of(run_of(60, 30)), StartsWith("still tells small (4.00 bits) from base"));
}

}  // namespace
}  // namespace ram
