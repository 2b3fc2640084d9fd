// Asking: log-likelihoods as in the harness, reuse without effect on results, and a study that
// keeps the answers.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <utility>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/answer_table.h"
#include "ram/error.h"
#include "ram/json.h"
#include "ram/progress.h"
#include "ram/score_table.h"
#include "ram/tasks.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

const fs::path kVectors = RAM_SOURCE_DIR "/tests/vectors/tasks";
const std::string kDemo = RAM_SOURCE_DIR "/models/demo";
const fs::path kDemoQuestions = RAM_SOURCE_DIR "/models/demo/questions.jsonl";

/// The bundled model, opened once.
struct Demo {
  Checkpoint checkpoint = Checkpoint::open(kDemo);
  Tokenizer tokenizer = Tokenizer::open(checkpoint.folder);
  LanguageModel model{Checkpoint::open(kDemo), {.threads = 2}};
  int64_t context = checkpoint.config.max_positions;
};

Demo& demo() {
  static Demo opened;
  return opened;
}

TEST(Answers, HaveTheHarnessesLogLikelihoods) {
  std::ifstream file(kVectors / "log_likelihoods.json");
  const Json expected = Json::parse(file);
  ASSERT_EQ(expected.size(), 5U);
  for (const auto& [name, questions] : expected.items()) {
    const TaskData data = load_task(name, name == "choice" ? kDemoQuestions : kVectors, {});
    ChoiceScorer scorer(demo().model);
    for (size_t q = 0; q < questions.size(); ++q) {
      const auto found = scorer.log_likelihoods(
          tokenize_question(data.questions[q], demo().tokenizer, demo().context));
      ASSERT_EQ(found.size(), questions[q].size());
      for (size_t c = 0; c < found.size(); ++c) {
        EXPECT_NEAR(found[c], questions[q][c].get<double>(), 1e-3) << name << " " << q;
      }
    }
  }
}

TEST(Answers, DependOnTheQuestionAloneToTheBit) {
  const TaskData data = load_task("mmlu", kVectors, {});
  ChoiceScorer scorer(demo().model);
  std::vector<std::vector<double>> together;
  int64_t naive = 0;
  for (const TaskQuestion& question : data.questions) {
    const auto prompt = tokenize_question(question, demo().tokenizer, demo().context);
    together.push_back(scorer.log_likelihoods(prompt));
    naive += prompt.naive_tokens();
  }
  EXPECT_LT(5 * scorer.tokens(), naive) << "the shared beginning is computed once";
  for (size_t q = data.questions.size(); q-- > 0;) {
    ChoiceScorer alone(demo().model);
    EXPECT_EQ(alone.log_likelihoods(
                  tokenize_question(data.questions[q], demo().tokenizer, demo().context)),
              together[q]);
  }
}

TEST(Answers, OfQuestionsLongerThanTheContextAreThoseOfTheirEnd) {
  TaskQuestion question = load_task("choice", kDemoQuestions, {.limit = 1}).questions.front();
  const auto whole = tokenize_question(question, demo().tokenizer, 1000);
  EXPECT_EQ(whole.cut, 0);
  for (int i = 0; i < 30; ++i) question.contexts.front().insert(0, "Once more. ");
  question.continuations.back() += " and more";
  constexpr int64_t kContext = 12;
  const auto cut = tokenize_question(question, demo().tokenizer, kContext);
  EXPECT_GT(cut.cut, 0);
  for (size_t c = 0; c < cut.rows.size(); ++c) EXPECT_EQ(std::ssize(cut.rows[c]), kContext + 1);
  // Choices of different lengths begin at different positions: each is scored as if alone.
  ChoiceScorer scorer(demo().model);
  const auto found = scorer.log_likelihoods(cut);
  for (size_t c = 0; c < cut.rows.size(); ++c) {
    const TokenRow& row = cut.rows[c];
    HiddenRows hidden = demo().model.embed({&row, 1});
    demo().model.run_layers(hidden, 0, demo().model.layers());
    const Matrix logits = demo().model.logits(hidden.front());
    double expected = 0;
    for (int64_t i = std::ssize(row) - cut.scored[c]; i < std::ssize(row); ++i) {
      const float* at = logits.row(i - 1);
      double sum = 0;
      for (int64_t v = 0; v < logits.cols(); ++v) sum += std::exp(static_cast<double>(at[v]));
      expected += static_cast<double>(at[row[static_cast<size_t>(i)]]) - std::log(sum);
    }
    EXPECT_NEAR(found[c], expected, 1e-4);
  }
  const int64_t longest = std::ssize(cut.rows.back()) - 1;
  EXPECT_LT(scorer.tokens(), cut.naive_tokens()) << "choices of one length share their context";
  EXPECT_GE(scorer.tokens(), 2 * (longest - cut.scored.back()));
  EXPECT_THROW(tokenize_question(question, demo().tokenizer, 1), Error);
}

class RunTasks : public ::testing::Test {
 protected:
  static TaskData questions(int64_t count) {
    return load_task("choice", kDemoQuestions, {.limit = count, .seed = 1});
  }
  TaskRun run(Study& study, int64_t count, const ProgressFn& progress = {}) {
    const std::vector<std::string> names = {kDemo, kDemo};
    return run_tasks(names, {questions(count)}, 42, {.threads = 2}, study, progress);
  }
  testing::TempFolder folder_;
};

TEST_F(RunTasks, AsksWhatTheStudyDoesNotHoldAndAModelAgainstItselfDoesNotDiffer) {
  Study study(folder_ / "ram.db");
  const TaskRun first = run(study, 6);
  EXPECT_EQ(first.models[0].tasks[0].asked, 6);
  const TaskRun second = run(study, 6);
  EXPECT_EQ(second.models[0].tasks[0].asked, 0);
  EXPECT_EQ(second.models[0].tasks[0].answers, first.models[0].tasks[0].answers);
  ASSERT_EQ(second.pairs.size(), 1U);
  EXPECT_EQ(second.pairs[0].difference, 0);
  EXPECT_EQ(second.pairs[0].mcnemar_p, 1);
  ASSERT_TRUE(second.verdicts[0].has_value());
  EXPECT_EQ(second.verdicts[0]->kind, LadderKind::kUnderpowered) << "six questions show nothing";
  ASSERT_TRUE(second.verdicts[0]->questions_needed.has_value());
  EXPECT_LT(second.pairs[0].ci95.low, -0.1);
  EXPECT_EQ(second.pairs[0].questions, 6);
}

TEST_F(RunTasks, KeepsNoAnswersOfAModelThatChangedMeanwhile) {
  const fs::path copy = folder_ / "model";
  fs::copy(kDemo, copy);
  Study study(folder_ / "ram.db");
  const std::vector<std::string> names = {copy.string()};
  const fs::path weights = copy / "model.safetensors";
  const auto touch = [&](const Progress& progress) {
    if (progress.phase == std::string("ask")) fs::last_write_time(weights, fs::file_time_type());
  };
  EXPECT_THROW(run_tasks(names, {questions(2)}, 42, {.threads = 2}, study, touch), Error);
  const TaskRun again = run_tasks(names, {questions(2)}, 42, {.threads = 2}, study);
  EXPECT_EQ(again.models[0].tasks[0].asked, 2);
}

TEST_F(RunTasks, AsksAgainWhatAnOlderRuleAnswered) {
  Study study(folder_ / "ram.db");
  const TaskRun first = run(study, 4);
  const TaskRecord record = AnswerTable(study).tasks().front();
  // The same answers, all changed, as an older rule would have stored them.
  Study older(folder_ / "older.db");
  TaskRecord old = record;
  const size_t rule = old.key.protocol.rfind("rule ");
  ASSERT_NE(rule, std::string::npos);
  old.key.protocol = old.key.protocol.substr(0, rule) + "rule 0";
  std::vector<TaskAnswer> answers = first.models[0].tasks[0].answers;
  for (TaskAnswer& answer : answers) answer.log_likelihoods.front() = -1e6;
  AnswerTable(older).put(old, answers);
  int shown = 0;
  EXPECT_THROW(run(older, 4,
                   [&](const Progress& progress) {
                     if (progress.phase == "ask" && ++shown == 3) fail(Code::kInterrupted, "now");
                   }),
               Error);
  const TaskRun again = run(older, 4);
  EXPECT_EQ(again.models[0].tasks[0].asked, 2) << "two were kept, and no old ones used";
  EXPECT_EQ(again.models[0].tasks[0].answers, first.models[0].tasks[0].answers);
  EXPECT_EQ(AnswerTable(older).answers(old.key).size(), 4U) << "old answers are left unchanged";
}

TEST_F(RunTasks, AnswersThatAnotherProgramRemovedAreNoDefect) {
  Study study(folder_ / "ram.db");
  run(study, 4);
  Study other(folder_ / "ram.db");
  const std::string digest = EvaluatedModelTable(study).all().front().digest;
  bool removed = false;
  const auto remove = [&](const Progress& progress) {
    if (progress.phase != "ask" || std::exchange(removed, true)) return;
    Study::Transaction transaction(other);
    AnswerTable(other).remove(transaction, digest);
    transaction.commit();
  };
  try {
    run(study, 6, remove);
    ADD_FAILURE() << "was collected";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kMissing) << error.what();
    EXPECT_THAT(error.what(), ::testing::HasSubstr("run the same command again"));
  }
  EXPECT_EQ(run(study, 6).models[0].tasks[0].answers.size(), 6U);
}

TEST_F(RunTasks, GoesOnWhereItWasInterruptedWithTheSameAnswers) {
  Study whole_study(folder_ / "whole.db");
  const auto whole = run(whole_study, 8).models[0].tasks[0].answers;
  Study study(folder_ / "ram.db");
  int shown = 0;
  EXPECT_THROW(run(study, 8,
                   [&](const Progress& progress) {
                     if (progress.phase == "ask" && ++shown == 4) fail(Code::kInterrupted, "now");
                   }),
               Error);
  ASSERT_EQ(AnswerTable(study).tasks().size(), 1U);
  EXPECT_EQ(AnswerTable(study).answers(AnswerTable(study).tasks().front().key).size(), 3U);
  const TaskRun rest = run(study, 8);
  EXPECT_EQ(rest.models[0].tasks[0].asked, 5);
  EXPECT_EQ(rest.models[0].tasks[0].answers, whole);
}

}  // namespace
}  // namespace ram
