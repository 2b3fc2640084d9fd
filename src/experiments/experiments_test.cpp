// Experiments through the library: one call each, and what the study then contains.
#include "ram/experiments.h"

#include <filesystem>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/file.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

/// A model with a tokenizer of letters, a text of letters, and a study.
class Experiments : public ::testing::Test {
 protected:
  Experiments() {
    testing::write_tiny_model(model_, {.hidden = 64, .layers = 2});
    write_file_atomic(model_ / "tokenizer.json",
                      R"({"model": {"type": "BPE", "merges": [],
                          "vocab": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 5, "g": 6}}})");
    std::string text;
    for (int i = 0; i < 200; ++i) text += static_cast<char>('a' + i * i % 7);
    write_file_atomic(text_, text);
  }

  ScoringRequest scoring() const {
    return {
        .text = text_,
        .rows = {.length = 16, .rows = 6},
        .resources = {.threads = 2, .engine = {.threads = 2, .memory_bytes = int64_t{1} << 30}}};
  }

  const testing::TempFolder folder_;
  const fs::path model_ = folder_ / "model";
  const fs::path text_ = folder_ / "text.txt";
  Study study_{folder_ / "ram.db"};
};

TEST_F(Experiments, AMeasuredSweepIsKeptAsItWasFound) {
  const Checkpoint checkpoint = Checkpoint::open(model_.string());
  MeasuredSweepRequest request{
      .plan = {}, .sizes = 3, .out = folder_ / "sweep", .scoring = scoring()};
  request.plan.dtype = checkpoint.default_dtype();
  const Curves curves =
      measure_curves_for(checkpoint, study_, request.plan.method, request.plan.dtype, false, 2);
  const MeasuredSweep found = measure_sweep(checkpoint, study_, curves, request);
  const std::vector<StudyDocument> kept = study_.documents(MeasuredSweepRecord::kKind);
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(MeasuredSweepRecord::read(kept[0]), found.record);
  const std::vector<MeasuredSweepRecord::Point>& points = found.record.points;
  ASSERT_EQ(points.size() + 1, found.scored.labels.size());
  ASSERT_GE(points.size(), 7U);
  EXPECT_EQ(points.back().folder, "uniform-8-64");
  EXPECT_FALSE(points.back().loss);
  ASSERT_TRUE(points[0].loss && points[1].loss);
  EXPECT_GT(*points[0].loss, *points[1].loss);
  EXPECT_NEAR(
      found.record.first_step,
      (points[0].kl - points[1].kl) * 1e6 / static_cast<double>(points[1].bytes - points[0].bytes),
      1e-12);
  for (const MeasuredSweepRecord::Point& point : points) {
    EXPECT_TRUE(fs::exists(request.out / point.folder / "config.json")) << point.folder;
  }
}

TEST_F(Experiments, NoiseTakesThePlaceOfAFoldersErrors) {
  const Checkpoint checkpoint = Checkpoint::open(model_.string());
  FitRequest fitting{.plan = {}, .calibration = {}, .out = folder_ / "out", .resources = {}};
  fitting.plan.uniform = AffineFormat{.bits = 4, .group_size = 64};
  fitting.plan.method = Method::kUniform;
  fitting.plan.dtype = checkpoint.default_dtype();
  const FitResult fitted = fit(checkpoint, study_, fitting);
  ASSERT_TRUE(fitted.planned.plan);
  const std::string name = fitting.out.string();
  const NoiseRequest request{.model = model_.string(),
                             .folder = name,
                             .relative = planned_errors(checkpoint, *fitted.planned.plan, name),
                             .seeds = 3,
                             .scoring = scoring()};
  const NoiseExperiment found =
      measure_noise(checkpoint, Checkpoint::open(name, Quantized::kAccept), study_, request);
  ASSERT_EQ(found.record.drawn.size(), 3U);
  EXPECT_NE(found.record.drawn[0].kl, found.record.drawn[1].kl);
  EXPECT_EQ(found.record.stored.kl, found.comparison.models.at(0).divergence.mean);
  const std::vector<StudyDocument> kept = study_.documents(NoiseRecord::kKind);
  ASSERT_EQ(kept.size(), 1U);
  EXPECT_EQ(NoiseRecord::read(kept[0]), found.record);
}

TEST_F(Experiments, APlanOfAnotherModelHasNoErrorsOfThisOne) {
  const Checkpoint checkpoint = Checkpoint::open(model_.string());
  Plan plan;
  for (const Unit& unit : checkpoint.units) plan.units.push_back({.name = unit.name});
  EXPECT_EQ(planned_errors(checkpoint, plan, "out"),
            std::vector<double>(checkpoint.units.size(), 0));
  plan.units.front().name = "another";
  try {
    (void)planned_errors(checkpoint, plan, "out");
    ADD_FAILURE() << "accepted";
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kUsage);
    EXPECT_THAT(error.what(), HasSubstr("out: its plan is for another model"));
  }
}

TEST(DemoModel, IsFoundInTheInstalledPlaceAndInTheSourceTree) {
  const testing::TempFolder folder;
  const std::string program = (folder / "prefix" / "bin" / "ram").string();
  for (const char* place : {"models/demo", "prefix/share/ram/demo"}) {
    fs::create_directories(folder / place);
    write_file_atomic(folder / place / "config.json", "{}");
    EXPECT_EQ(find_demo_model(program), fs::canonical(folder.path()) / place);
  }
}

}  // namespace
}  // namespace ram
