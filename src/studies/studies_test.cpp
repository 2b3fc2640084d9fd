// What a study keeps of each model; removing one leaves the others unchanged.
#include "ram/studies.h"

#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/answer_table.h"
#include "ram/build_table.h"
#include "ram/calibration_table.h"
#include "ram/curve_table.h"
#include "ram/score_table.h"

#include "support/temp_folder.h"

namespace ram {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

constexpr FileIdentity kIdentity{
    .size = 10, .mtime_ns = 20, .ctime_ns = 30, .inode = 4, .device = 5};

CurveKey key_of(const std::string& hash) {
  return {.tensor_hash = hash, .part = "rows 0+768 x 2048"};
}

class StudiesTest : public ::testing::Test {
 protected:
  // A model whose file contains `tensors` (their hashes), with one record of every kind.
  void add(const std::string& name, const std::vector<std::string>& tensors) {
    const std::string folder = "/models/" + name;
    std::vector<TensorRecord> records;
    std::vector<std::pair<CurveKey, PartCurve>> curves;
    for (const std::string& hash : tensors) {
      records.push_back({.tensor = "t" + hash, .hash = hash});
      curves.emplace_back(key_of(hash), PartCurve{});
    }
    CurveTable(study_).put(folder + "/model.safetensors", kIdentity, records, curves);
    const std::string print = "print-" + name;
    ModelTable(study_).put({.fingerprint = print,
                            .name = name,
                            .model_type = "llama",
                            .folder = folder,
                            .weights = 10,
                            .bytes = 20});
    BuildTable(study_).put(
        {.fingerprint = print, .plan_hash = "plan-" + name, .file_hashes = {{"f", "h"}}});
    CalibrationTextTable(study_).put(
        {.fingerprint = print, .spec = "own", .digest = "d", .row_length = 2, .ids = {1, 2}});
    study_.put_document({.kind = "curves", .key = print, .text = std::string(100000, 'x')});
    for (const std::string& digest : {"digest-" + name, "out-" + name}) {
      EvaluatedModelTable(study_).put(
          {.digest = digest,
           .name = digest,
           .model_type = "llama",
           .folder = digest.starts_with("out") ? "/out/" + name : folder,
           .bytes = 5,
           .bits_per_weight = 4});
      const EvaluationKey key{.model = digest, .precision = "f32", .text = "t", .protocol = "p"};
      const EvaluatedRows rows{.key = key, .scores = {{.row = 0, .tokens = 2, .nll_sum = 1}}};
      ScoreTable(study_).put({&rows, 1}, {});
    }
    study_.put_document({.kind = "plan",
                         .key = "out-" + name,
                         .text = fmt::format(R"({{"model": {{"fingerprint": "{}"}}}})", print)});
  }

  std::vector<std::string> evaluated() {
    std::vector<std::string> names;
    for (const EvaluatedModel& model : EvaluatedModelTable(study_).all())
      names.push_back(model.digest);
    return names;
  }

  bool knows(const std::string& hash) {
    const CurveKey key = key_of(hash);
    return CurveTable(study_).curves({&key, 1}).size() == 1;
  }

  std::vector<std::string> all_tables() {
    std::vector<std::string> names;
    Study::Statement find(study_, "SELECT name FROM sqlite_schema WHERE type = 'table'");
    while (find.step()) names.push_back(find.text(0));
    return names;
  }
  std::vector<std::string> filled_tables() {
    std::vector<std::string> names;
    for (const std::string& name : all_tables()) {
      Study::Statement row(study_, fmt::format("SELECT 1 FROM {} LIMIT 1", name));
      if (row.step()) names.push_back(name);
    }
    return names;
  }

  testing::TempFolder folder_;
  std::filesystem::path path_ = folder_ / "ram.db";
  Study study_{path_};
};

TEST_F(StudiesTest, AModelIsListedWithWhatBelongsToIt) {
  add("a", {"1", "2"});
  add("b", {"2", "3"});
  const std::vector<ModelUse> uses = model_uses(study_);
  ASSERT_EQ(uses.size(), 2U);
  EXPECT_EQ(uses[0].model.name, "a");
  EXPECT_EQ(uses[0].plans, 1);
  EXPECT_GT(uses[0].kept_bytes, 100000);
  ASSERT_EQ(uses[0].evaluated.size(), 2U);
  EXPECT_EQ(uses[0].evaluated[0].digest, "digest-a");
  EXPECT_EQ(uses[0].evaluated[1].digest, "out-a");
  const auto document = model_uses_json(uses);
  ASSERT_EQ(document.size(), 2U);
  EXPECT_EQ(document.at(0).at("name"), "a");
  EXPECT_EQ(document.at(0).at("kept_bytes"), uses[0].kept_bytes);
  EXPECT_EQ(document.at(0).at("folders").size(), 2U);
  EXPECT_EQ(document.at(0).at("there"), false);
  EXPECT_TRUE(folder_exists(folder_.path().string()));
  EXPECT_FALSE(folder_exists(path_.string())) << "a file";
}

TEST_F(StudiesTest, RemovingOneLeavesTheOtherWhole) {
  add("a", {"1", "2"});
  add("b", {"2", "3"});
  const auto before =
      std::filesystem::file_size(path_) + std::filesystem::file_size(path_.string() + "-wal");
  const std::string print = "print-a";
  remove_models(study_, {&print, 1});
  EXPECT_LT(std::filesystem::file_size(path_), before - 100000);
  EXPECT_EQ(std::filesystem::file_size(path_.string() + "-wal"), 0U);
  ASSERT_EQ(ModelTable(study_).all().size(), 1U);
  EXPECT_EQ(ModelTable(study_).all().front().name, "b");
  EXPECT_FALSE(knows("1"));
  EXPECT_TRUE(knows("2"));  // b has it too
  EXPECT_TRUE(knows("3"));
  EXPECT_THAT(evaluated(), ElementsAre("digest-b", "out-b"));
  EXPECT_EQ(ScoreTable(study_).evaluations().size(), 2U);
  EXPECT_FALSE(BuildTable(study_).find("plan-a"));
  EXPECT_TRUE(BuildTable(study_).find("plan-b"));
  EXPECT_FALSE(CalibrationTextTable(study_).find("print-a", "own"));
  EXPECT_TRUE(CalibrationTextTable(study_).find("print-b", "own"));
  EXPECT_EQ(study_.documents("curves").size(), 1U);
  EXPECT_EQ(study_.documents("plan").size(), 1U);
  EXPECT_THAT(CurveTable(study_).tensor_hashes("/models/a/model.safetensors", kIdentity),
              IsEmpty());
  EXPECT_EQ(CurveTable(study_).tensor_hashes("/models/b/model.safetensors", kIdentity).size(), 2U);
}

TEST_F(StudiesTest, AChangedModelInTheSamePlaceKeepsThePlace) {
  add("a", {"1"});
  ModelTable(study_).put({.fingerprint = "new",
                          .name = "a",
                          .model_type = "llama",
                          .folder = "/models/a",
                          .weights = 10,
                          .bytes = 20});
  const std::string print = "print-a";
  remove_models(study_, {&print, 1});
  EXPECT_EQ(ModelTable(study_).all().size(), 1U);
  EXPECT_TRUE(knows("1"));
  EXPECT_THAT(
      evaluated(),
      ElementsAre("digest-a"));  // stored by folder; the folder's plan belonged to the other model
}

TEST_F(StudiesTest, AModelInTheFolderOfAnotherIsNotPartOfIt) {
  const auto tensors_of = [this](const std::string& name) {
    return CurveTable(study_)
        .tensor_hashes("/models/" + name + "/model.safetensors", kIdentity)
        .size();
  };
  add("b", {"1"});
  add("b/original", {"2"});
  std::string gone = "print-b";
  remove_models(study_, {&gone, 1});
  EXPECT_EQ(tensors_of("b"), 0U);
  EXPECT_EQ(tensors_of("b/original"), 1U);
  EXPECT_TRUE(knows("2"));
  EXPECT_FALSE(knows("1"));
  EXPECT_THAT(evaluated(), ElementsAre("digest-b/original", "out-b/original"));
  add("b", {"1"});
  gone = "print-b/original";
  remove_models(study_, {&gone, 1});
  EXPECT_EQ(tensors_of("b"), 1U);
  EXPECT_EQ(tensors_of("b/original"), 0U);
  EXPECT_FALSE(knows("2"));
  add("b/original", {"2"});
  const std::vector<std::string> both = {"print-b", "print-b/original"};
  remove_models(study_, both);
  EXPECT_EQ(tensors_of("b/original"), 0U);
}

TEST_F(StudiesTest, ADocumentThatIsNoJsonBelongsToNobody) {
  add("a", {"1"});
  study_.put_document({.kind = "plan", .key = "broken", .text = "{not json"});
  EXPECT_EQ(model_uses(study_).front().evaluated.size(), 2U);
}

TEST_F(StudiesTest, RemovingNothingRemovesCurvesThatNoFileHas) {
  add("a", {"1", "2"});
  const std::vector<TensorRecord> changed = {{.tensor = "t1", .hash = "9"}};
  CurveTable(study_).put("/models/a/model.safetensors", kIdentity, changed, {});
  EXPECT_TRUE(knows("1"));
  remove_models(study_, {});
  EXPECT_FALSE(knows("1"));
  EXPECT_TRUE(knows("2"));
}

TEST_F(StudiesTest, AModelThatIsRemovedLeavesARowInNoTable) {
  add("a", {"1", "2"});
  const EvaluationKey original{
      .model = "digest-a", .precision = "f32", .text = "t", .protocol = "p"};
  EvaluationKey folder = original;
  folder.model = "out-a";
  const DivergentRows apart{.reference = original, .model = folder, .rows = {{.kl = {0.5F}}}};
  ScoreTable(study_).put({}, {&apart, 1});
  const TaskAnswer answer{.answer = 1, .choice = 0, .log_likelihoods = {-1, -2}};
  AnswerTable(study_).put(
      {.key =
           {.model = "out-a", .precision = "f32", .task = "choice", .data = "d", .protocol = "p"},
       .metric = "acc",
       .questions = 1},
      {&answer, 1});
  const ProbeRow probe{.unit = "u", .tokens = 2, .kl_sum = 0.5};
  ProbeTable(study_).put({.fingerprint = "print-a", .text = "t", .disturbance = "d"}, {&probe, 1});
  FileHashTable(study_).put("/models/a/model.safetensors", kIdentity, "h");
  // A new table must be filled here and cleared by remove_models.
  EXPECT_THAT(
      filled_tables(),
      UnorderedElementsAre("build", "build_file", "calibration_text", "curve", "divergence_row",
                           "document", "evaluated_model", "evaluation", "evaluation_row", "file",
                           "file_hash", "model", "probe", "run", "task", "task_answer", "tensor"));
  EXPECT_EQ(all_tables().size(), filled_tables().size());
  const std::string print = "print-a";
  remove_models(study_, {&print, 1});
  EXPECT_THAT(filled_tables(), ElementsAre("run"));
}

}  // namespace
}  // namespace ram
