// The tables of evaluations: what was stored is found again bit for bit, only under its key; older
// studies are upgraded.
#include "ram/score_table.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/curve_table.h"
#include "ram/error.h"
#include "ram/file.h"

#include "support/error_of.h"
#include "support/ordinary_user.h"
#include "support/run_sql.h"
#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using testing::error_of;
using testing::run_sql;

const EvaluationKey kReference{
    .model = "aa", .precision = "f32", .text = "t1", .protocol = "length 256"};
const EvaluationKey kModel{
    .model = "bb", .precision = "f32", .text = "t1", .protocol = "length 256"};
constexpr FileIdentity kIdentity{
    .size = 10, .mtime_ns = 20, .ctime_ns = 30, .inode = ~uint64_t{0}, .device = 50};

std::vector<RowScore> scores_of(int64_t first, int64_t count) {
  std::vector<RowScore> scores;
  for (int64_t row = first; row < first + count; ++row) {
    scores.push_back({.row = row, .tokens = 255, .nll_sum = 700 + static_cast<double>(row) / 3});
  }
  return scores;
}

RowDivergence divergence_of(int64_t row) {
  return {.row = row,
          .same_top1 = 2,
          .change_sum = -1.0 / 3,
          .change_squares = 1.0 / 7,
          .kl = {0.0F, 1e-30F, static_cast<float>(row) / 3}};
}

// The schema of version 1.
void make_version_1(const fs::path& path) {
  run_sql(path,
          "ALTER TABLE run DROP COLUMN machine; ALTER TABLE run DROP COLUMN last_write_ms;"
          "DROP TABLE document; DROP TABLE task_answer; DROP TABLE task;"
          "DROP TABLE divergence_row; DROP TABLE evaluation_row; DROP TABLE evaluation;"
          "DROP TABLE evaluated_model; DROP TABLE file_hash; DROP TABLE calibration_text; "
          "DROP TABLE probe; PRAGMA user_version = 1");
}

class ScoreTableTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  fs::path path_ = folder_ / "ram.db";
};

TEST_F(ScoreTableTest, RowsComeBackBitForBitFromAReopenedStudy) {
  const std::vector<RowScore> scores = scores_of(0, 5);
  const std::vector<RowDivergence> rows = {divergence_of(3), divergence_of(4)};
  {
    Study study(path_);
    const EvaluatedRows block{.key = kModel, .scores = scores};
    const DivergentRows divergent{.reference = kReference, .model = kModel, .rows = rows};
    ScoreTable(study).put({&block, 1}, {&divergent, 1});
  }
  Study study(path_);
  const auto found = ScoreTable(study).scores(kModel);
  ASSERT_EQ(found.size(), 5U);
  for (const RowScore& score : scores) EXPECT_EQ(found.at(score.row), score);
  const auto divergences = ScoreTable(study).divergences(kReference, kModel);
  ASSERT_EQ(divergences.size(), 2U);
  for (const RowDivergence& row : rows) EXPECT_EQ(divergences.at(row.row), row);
  EXPECT_TRUE(ScoreTable(study).divergences(kModel, kReference).empty());
  EXPECT_TRUE(ScoreTable(study).scores(kReference).empty());
}

TEST_F(ScoreTableTest, AnotherModelPrecisionTextOrProtocolIsAnotherEvaluation) {
  Study study(path_);
  const EvaluatedRows block{.key = kModel, .scores = scores_of(0, 3)};
  ScoreTable(study).put({&block, 1}, {});
  for (std::string EvaluationKey::*field : {&EvaluationKey::model, &EvaluationKey::precision,
                                            &EvaluationKey::text, &EvaluationKey::protocol}) {
    EvaluationKey other = kModel;
    other.*field += "x";
    EXPECT_TRUE(ScoreTable(study).scores(other).empty());
  }
  EXPECT_EQ(ScoreTable(study).scores(kModel).size(), 3U);
}

TEST_F(ScoreTableTest, BlocksAddUpAndARowIsReplaced) {
  Study study(path_);
  EvaluatedRows block{.key = kModel, .scores = scores_of(0, 3)};
  ScoreTable(study).put({&block, 1}, {});
  block.scores = scores_of(2, 3);
  block.scores.front().nll_sum = 1;
  ScoreTable(study).put({&block, 1}, {});
  const auto found = ScoreTable(study).scores(kModel);
  EXPECT_EQ(found.size(), 5U);
  EXPECT_EQ(found.at(2).nll_sum, 1);
}

TEST_F(ScoreTableTest, AModelIsKeptUnderItsDigest) {
  Study study(path_);
  EvaluatedModel model{.digest = "aa",
                       .name = "m",
                       .model_type = "qwen3",
                       .folder = "here",
                       .bytes = 5,
                       .bits_per_weight = 4.5};
  EvaluatedModelTable(study).put(model);
  model.folder = "elsewhere";
  EvaluatedModelTable(study).put(model);
  ASSERT_EQ(EvaluatedModelTable(study).all().size(), 1U);
  EXPECT_EQ(EvaluatedModelTable(study).all().front(), model);
}

TEST_F(ScoreTableTest, AnOlderStudyIsBroughtUpToDateAndLosesNothing) {
  const std::vector<TensorRecord> tensors = {{.tensor = "t", .hash = "h"}};
  {
    Study study(path_);
    CurveTable(study).put("m", kIdentity, tensors, {});
  }
  make_version_1(path_);
  {
    Study study(path_);
    EXPECT_EQ(CurveTable(study).tensor_hashes("m", kIdentity).at("t"), "h");
    const EvaluatedRows block{.key = kModel, .scores = scores_of(0, 3)};
    ScoreTable(study).put({&block, 1}, {});
  }
  Study study(path_);
  EXPECT_EQ(ScoreTable(study).scores(kModel).size(), 3U);
}

TEST_F(ScoreTableTest, AnOlderStudyThatCannotBeWrittenKnowsNoEvaluations) {
  const std::vector<TensorRecord> tensors = {{.tensor = "t", .hash = "h"}};
  {
    Study study(path_);
    CurveTable(study).put("m", kIdentity, tensors, {});
  }
  make_version_1(path_);
  chmod(path_.c_str(), 0444);
  chmod(folder_.path().c_str(), 0555);
  const std::optional<int> status = testing::as_ordinary_user([&] {
    Study study(path_);
    if (!ScoreTable(study).scores(kModel).empty() || FileHashTable(study).find("m", kIdentity)) {
      return 1;
    }
    if (CurveTable(study).tensor_hashes("m", kIdentity).size() != 1) return 2;
    const EvaluatedRows block{.key = kModel, .scores = scores_of(0, 3)};
    const Error error = error_of([&] { ScoreTable(study).put({&block, 1}, {}); });
    return error.code() == Code::kWriteFailed ? 0 : 3;
  });
  chmod(folder_.path().c_str(), 0755);
  if (!status) GTEST_SKIP() << "skipped: root cannot become another user";
  EXPECT_EQ(status, 0);
}

TEST_F(ScoreTableTest, ProgramsThatUpgradeOneStudyAtTheSameTimeAllSucceed) {
  { Study study(path_); }
  make_version_1(path_);
  constexpr int kPrograms = 4;
  for (int c = 0; c < kPrograms; ++c) {
    if (fork() != 0) continue;
    try {
      const EvaluatedRows block{.key = kModel, .scores = scores_of(c * 10, 10)};
      Study study(path_);
      ScoreTable(study).put({&block, 1}, {});
      _exit(0);
    } catch (...) {
      _exit(1);
    }
  }
  for (int c = 0; c < kPrograms; ++c) {
    int status = 0;
    ASSERT_GT(wait(&status), 0);
    EXPECT_EQ(status, 0);
  }
  Study study(path_);
  EXPECT_EQ(ScoreTable(study).scores(kModel).size(), 40U);
}

TEST_F(ScoreTableTest, DamagedRowsAreCorrupt) {
  {
    Study study(path_);
    const EvaluatedRows block{.key = kModel, .scores = scores_of(0, 1)};
    const DivergentRows divergent{
        .reference = kReference, .model = kModel, .rows = {divergence_of(0)}};
    ScoreTable(study).put({&block, 1}, {&divergent, 1});
  }
  Study study(path_);
  ScoreTable table(study);
  run_sql(path_, "UPDATE divergence_row SET kl = x'0000'");
  EXPECT_EQ(error_of([&] { table.divergences(kReference, kModel); }).code(), Code::kCorrupt);
  run_sql(path_, "UPDATE evaluation_row SET tokens = 0");
  EXPECT_EQ(error_of([&] { table.scores(kModel); }).code(), Code::kCorrupt);
}

TEST_F(ScoreTableTest, ADivergenceThatIsNotFiniteIsDamage) {
  const EvaluationKey a{.model = "a", .precision = "f32", .text = "t", .protocol = "p"};
  const EvaluationKey b{.model = "b", .precision = "f32", .text = "t", .protocol = "p"};
  {
    Study study(path_);
    const RowScore score{.row = 0, .tokens = 2, .nll_sum = 1};
    const RowDivergence row{
        .row = 0, .same_top1 = 1, .change_sum = 0.5, .change_squares = 0.25, .kl = {0.5F, 0.25F}};
    const std::vector<EvaluatedRows> scores = {{.key = a, .scores = {score}},
                                               {.key = b, .scores = {score}}};
    const std::vector<DivergentRows> rows = {{.reference = a, .model = b, .rows = {row}}};
    ScoreTable(study).put(scores, rows);
    EXPECT_EQ(ScoreTable(study).divergences(a, b).size(), 1U);
  }
  // A NaN, an infinity; SQLite turns a NaN into NULL.
  for (const char* damage :
       {"UPDATE divergence_row SET kl = x'0000C07F0000803E'",
        "UPDATE divergence_row SET kl = x'0000807F0000803E'",
        "UPDATE divergence_row SET kl = x'0000003F0000803E', change_sum = 9e999",
        "UPDATE divergence_row SET change_sum = 0, change_squares = -9e999"}) {
    run_sql(path_, damage);
    Study study(path_);
    try {
      (void)ScoreTable(study).divergences(a, b);
      ADD_FAILURE() << damage;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), Code::kCorrupt) << damage;
    }
  }
}

TEST_F(ScoreTableTest, WhatThereIsIsListed) {
  {
    Study study(path_);
    const EvaluatedRows rows{.key = kReference, .scores = scores_of(1, 1)};
    const DivergentRows apart{
        .reference = kReference, .model = kModel, .rows = {{.row = 1, .kl = {0.5F}}}};
    ScoreTable(study).put({&rows, 1}, {&apart, 1});
  }
  Study study(path_);
  EXPECT_EQ(ScoreTable(study).evaluations(), std::vector<EvaluationKey>{kReference});
  const std::vector<DivergencePair> pairs = ScoreTable(study).pairs();
  ASSERT_EQ(pairs.size(), 1U);
  EXPECT_EQ(pairs[0].reference, kReference);
  EXPECT_EQ(pairs[0].model, kModel);
}

}  // namespace
}  // namespace ram
