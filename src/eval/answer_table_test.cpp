// The tables of answers: found again bit for bit, only under their key; older studies are upgraded;
// a damaged one is rejected.
#include "ram/answer_table.h"

#include <filesystem>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/score_table.h"

#include "support/run_sql.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using testing::run_sql;

const TaskRecord kTask{.key = {.model = "aa",
                               .precision = "f32",
                               .task = "mmlu",
                               .data = "d1",
                               .protocol = "5 examples"},
                       .metric = "acc",
                       .questions = 100};

std::vector<TaskAnswer> some_answers(int64_t first, int64_t count) {
  std::vector<TaskAnswer> answers;
  for (int64_t i = first; i < first + count; ++i) {
    answers.push_back({.question = i,
                       .group = i % 2 == 0 ? "anatomy" : "law",
                       .answer = i % 4,
                       .choice = (i + 1) % 4,
                       .cut = i / 3,
                       .log_likelihoods = {-1.0 / 3, -2, -1e-300, static_cast<double>(-i)}});
  }
  return answers;
}

class AnswerTableTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  fs::path path_ = folder_ / "ram.db";
};

TEST_F(AnswerTableTest, ComeBackBitForBitFromAReopenedStudyAndAddUp) {
  {
    Study study(path_);
    AnswerTable(study).put(kTask, some_answers(0, 5));
    AnswerTable(study).put(kTask, some_answers(4, 3));
  }
  Study study(path_);
  const auto found = AnswerTable(study).answers(kTask.key);
  ASSERT_EQ(found.size(), 7U);
  for (const TaskAnswer& answer : some_answers(0, 7)) EXPECT_EQ(found.at(answer.question), answer);
  ASSERT_EQ(AnswerTable(study).tasks().size(), 1U);
  EXPECT_EQ(AnswerTable(study).tasks().front(), kTask);
}

TEST_F(AnswerTableTest, AreFoundUnderTheirKeyOnly) {
  Study study(path_);
  AnswerTable(study).put(kTask, some_answers(0, 3));
  for (std::string TaskKey::*field :
       {&TaskKey::model, &TaskKey::precision, &TaskKey::task, &TaskKey::data, &TaskKey::protocol}) {
    TaskKey other = kTask.key;
    other.*field += "x";
    EXPECT_TRUE(AnswerTable(study).answers(other).empty());
  }
}

TEST_F(AnswerTableTest, AnOlderStudyIsBroughtUpToDateAndKeepsWhatItHolds) {
  const EvaluationKey key{.model = "aa", .precision = "f32", .text = "t", .protocol = "p"};
  {
    Study study(path_);
    const EvaluatedRows rows{.key = key, .scores = {{.row = 1, .tokens = 3, .nll_sum = 2}}};
    ScoreTable(study).put({&rows, 1}, {});
  }
  run_sql(path_,
          "ALTER TABLE run DROP COLUMN machine; ALTER TABLE run DROP COLUMN last_write_ms;"
          "DROP TABLE document; DROP TABLE task_answer; DROP TABLE task; PRAGMA user_version = 3");
  Study study(path_);
  EXPECT_TRUE(AnswerTable(study).tasks().empty());
  ASSERT_EQ(study.runs().size(), 1U);
  EXPECT_EQ(study.runs()[0].machine, "");
  EXPECT_EQ(study.runs()[0].last_write_ms, 0);
  AnswerTable(study).put(kTask, some_answers(0, 2));
  EXPECT_EQ(AnswerTable(study).answers(kTask.key).size(), 2U);
  EXPECT_EQ(ScoreTable(study).scores(key).size(), 1U);
}

TEST_F(AnswerTableTest, ADamagedAnswerIsRefused) {
  {
    Study study(path_);
    AnswerTable(study).put(kTask, some_answers(0, 2));
  }
  for (const char* sql :
       {"UPDATE task_answer SET choice = 4", "UPDATE task_answer SET choice = 0, answer = -1",
        "UPDATE task_answer SET answer = 0, log_likelihoods = x'00'"}) {
    run_sql(path_, sql);
    Study study(path_);
    try {
      AnswerTable(study).answers(kTask.key);
      ADD_FAILURE() << sql;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kCorrupt);
      EXPECT_NE(std::string(error.what()).find("mmlu"), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace ram
