// Evaluations in the study: what is kept is found again bit for bit, under its key only; older
// studies are brought up to date.
#include <csignal>
#include <functional>

#include <gtest/gtest.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/study.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

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

void run_sql(const fs::path& path, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, &message), SQLITE_OK) << message;
  sqlite3_free(message);
  sqlite3_close(db);
}

Error error_of(const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    return error;
  }
  return {Code{}, "no error"};
}

// The schema as version 1 left it.
void make_version_1(const fs::path& path) {
  run_sql(path,
          "ALTER TABLE run DROP COLUMN machine; ALTER TABLE run DROP COLUMN last_write_ms;"
          "DROP TABLE document; DROP TABLE task_answer; DROP TABLE task;"
          "DROP TABLE divergence_row; DROP TABLE evaluation_row; DROP TABLE evaluation;"
          "DROP TABLE evaluated_model; DROP TABLE file_hash; DROP TABLE calibration_text; "
          "DROP TABLE probe; PRAGMA user_version = 1");
}

class EvaluationsTest : public ::testing::Test {
 protected:
  testing::TempFolder folder_;
  fs::path path_ = folder_ / "ram.db";
};

TEST_F(EvaluationsTest, RowsComeBackBitForBitFromAReopenedStudy) {
  const std::vector<RowScore> scores = scores_of(0, 5);
  const std::vector<RowDivergence> rows = {divergence_of(3), divergence_of(4)};
  {
    Study study(path_);
    const EvaluatedRows block{.key = kModel, .scores = scores};
    const DivergentRows divergent{.reference = kReference, .model = kModel, .rows = rows};
    study.put_rows({&block, 1}, {&divergent, 1});
  }
  Study study(path_);
  const auto found = study.row_scores(kModel);
  ASSERT_EQ(found.size(), 5U);
  for (const RowScore& score : scores) EXPECT_EQ(found.at(score.row), score);
  const auto divergences = study.row_divergences(kReference, kModel);
  ASSERT_EQ(divergences.size(), 2U);
  for (const RowDivergence& row : rows) EXPECT_EQ(divergences.at(row.row), row);
  EXPECT_TRUE(study.row_divergences(kModel, kReference).empty());
  EXPECT_TRUE(study.row_scores(kReference).empty());
}

TEST_F(EvaluationsTest, AnotherModelPrecisionTextOrProtocolIsAnotherEvaluation) {
  Study study(path_);
  const EvaluatedRows block{.key = kModel, .scores = scores_of(0, 3)};
  study.put_rows({&block, 1}, {});
  for (std::string EvaluationKey::*field : {&EvaluationKey::model, &EvaluationKey::precision,
                                            &EvaluationKey::text, &EvaluationKey::protocol}) {
    EvaluationKey other = kModel;
    other.*field += "x";
    EXPECT_TRUE(study.row_scores(other).empty());
  }
  EXPECT_EQ(study.row_scores(kModel).size(), 3U);
}

TEST_F(EvaluationsTest, BlocksAddUpAndARowIsReplaced) {
  Study study(path_);
  EvaluatedRows block{.key = kModel, .scores = scores_of(0, 3)};
  study.put_rows({&block, 1}, {});
  block.scores = scores_of(2, 3);
  block.scores.front().nll_sum = 1;
  study.put_rows({&block, 1}, {});
  const auto found = study.row_scores(kModel);
  EXPECT_EQ(found.size(), 5U);
  EXPECT_EQ(found.at(2).nll_sum, 1);
}

TEST_F(EvaluationsTest, AFilesDigestHoldsForThatIdentityOnly) {
  Study study(path_);
  study.put_file_hash("m/model.safetensors", kIdentity, "h1");
  EXPECT_EQ(study.file_hash("m/../m/model.safetensors", kIdentity), "h1");
  FileIdentity changed = kIdentity;
  changed.mtime_ns += 1;
  EXPECT_FALSE(study.file_hash("m/model.safetensors", changed).has_value());
  study.put_file_hash("m/model.safetensors", changed, "h2");
  EXPECT_EQ(study.file_hash("m/model.safetensors", changed), "h2");
  EXPECT_FALSE(study.file_hash("m/model.safetensors", kIdentity).has_value());
  // Tensors of the file do not take its digest away.
  const std::vector<TensorRecord> tensors = {{.tensor = "t", .hash = "h"}};
  study.put("m/model.safetensors", changed, tensors, {});
  EXPECT_EQ(study.file_hash("m/model.safetensors", changed), "h2");
}

TEST_F(EvaluationsTest, AModelIsKeptUnderItsDigest) {
  Study study(path_);
  EvaluatedModel model{.digest = "aa",
                       .name = "m",
                       .model_type = "qwen3",
                       .folder = "here",
                       .bytes = 5,
                       .bits_per_weight = 4.5};
  study.put_evaluated_model(model);
  model.folder = "elsewhere";
  study.put_evaluated_model(model);
  ASSERT_EQ(study.evaluated_models().size(), 1U);
  EXPECT_EQ(study.evaluated_models().front(), model);
}

TEST_F(EvaluationsTest, AnOlderStudyIsBroughtUpToDateAndLosesNothing) {
  const std::vector<TensorRecord> tensors = {{.tensor = "t", .hash = "h"}};
  { Study(path_).put("m", kIdentity, tensors, {}); }
  make_version_1(path_);
  {
    Study study(path_);
    EXPECT_EQ(study.tensor_hashes("m", kIdentity).at("t"), "h");
    const EvaluatedRows block{.key = kModel, .scores = scores_of(0, 3)};
    study.put_rows({&block, 1}, {});
  }
  EXPECT_EQ(Study(path_).row_scores(kModel).size(), 3U);
}

TEST_F(EvaluationsTest, AnOlderStudyThatCannotBeWrittenKnowsNoEvaluations) {
  const std::vector<TensorRecord> tensors = {{.tensor = "t", .hash = "h"}};
  { Study(path_).put("m", kIdentity, tensors, {}); }
  make_version_1(path_);
  chmod(path_.c_str(), 0444);
  chmod(folder_.path().c_str(), 0555);
  const pid_t child = fork();
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (geteuid() == 0 && (setgid(kNobody) != 0 || setuid(kNobody) != 0)) _exit(77);
    Study study(path_);
    if (!study.row_scores(kModel).empty() || study.file_hash("m", kIdentity)) _exit(1);
    if (study.tensor_hashes("m", kIdentity).size() != 1) _exit(2);
    const EvaluatedRows block{.key = kModel, .scores = scores_of(0, 3)};
    const Error error = error_of([&] { study.put_rows({&block, 1}, {}); });
    _exit(error.code() == Code::kWriteFailed ? 0 : 3);
  }
  int status = 0;
  waitpid(child, &status, 0);
  chmod(folder_.path().c_str(), 0755);
  if (WEXITSTATUS(status) == 77) GTEST_SKIP() << "cannot become a user whom permissions bind";
  EXPECT_EQ(status, 0);
}

TEST_F(EvaluationsTest, ProgramsThatUpgradeOneStudyAtTheSameTimeAllSucceed) {
  { Study study(path_); }
  make_version_1(path_);
  constexpr int kPrograms = 4;
  for (int c = 0; c < kPrograms; ++c) {
    if (fork() != 0) continue;
    try {
      const EvaluatedRows block{.key = kModel, .scores = scores_of(c * 10, 10)};
      Study(path_).put_rows({&block, 1}, {});
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
  EXPECT_EQ(Study(path_).row_scores(kModel).size(), 40U);
}

TEST_F(EvaluationsTest, DamagedRowsAreCorrupt) {
  {
    Study study(path_);
    const EvaluatedRows block{.key = kModel, .scores = scores_of(0, 1)};
    const DivergentRows divergent{
        .reference = kReference, .model = kModel, .rows = {divergence_of(0)}};
    study.put_rows({&block, 1}, {&divergent, 1});
  }
  run_sql(path_, "UPDATE divergence_row SET kl = x'0000'");
  EXPECT_EQ(error_of([&] { Study(path_).row_divergences(kReference, kModel); }).code(),
            Code::kCorrupt);
  run_sql(path_, "UPDATE evaluation_row SET tokens = 0");
  EXPECT_EQ(error_of([&] { Study(path_).row_scores(kModel); }).code(), Code::kCorrupt);
}

}  // namespace
}  // namespace ram
