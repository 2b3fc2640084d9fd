// Records are read back exactly as written.
#include "ram/results.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

namespace ram {
namespace {

using ::testing::HasSubstr;

template <typename Record>
std::string refusal(const std::string& text) {
  try {
    (void)Record::read({.kind = Record::kKind, .key = "key squared", .text = text});
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Code::kCorrupt);
    return error.what();
  }
  return "accepted";
}

TEST(SweepRecord, IsReadAsItWasWritten) {
  const SweepRecord sweep{.fingerprint = "print",
                          .model = "demo",
                          .method = "squared",
                          .points = {{.total_bytes = 400,
                                      .bits_per_weight = 2.5,
                                      .loss = 1.0 / 3,
                                      .lower_bound = 0.25,
                                      .loss_saved_per_mb = 0,
                                      .limit = 0.125},
                                     {.total_bytes = 900,
                                      .bits_per_weight = 8.5,
                                      .loss = 0,
                                      .lower_bound = 0,
                                      .loss_saved_per_mb = 1e-9,
                                      .limit = {}}},
                          .knee = 1,
                          .knee_bytes = 900};
  const StudyDocument document = sweep.document();
  EXPECT_EQ(document.kind, "sweep");
  EXPECT_EQ(document.key, "print squared");
  EXPECT_EQ(SweepRecord::read(document), sweep);
}

TEST(SweepRecord, NeedsItsPointsAndItsKnee) {
  EXPECT_THAT(refusal<SweepRecord>(R"({"method": "m", "knee_total_bytes": 1, "points": []})"),
              HasSubstr("no point"));
  EXPECT_THAT(refusal<SweepRecord>(R"({"method": "m", "points": []})"),
              HasSubstr("knee_total_bytes"));
  EXPECT_THAT(refusal<SweepRecord>("{"), HasSubstr("JSON"));
}

TEST(MeasuredSweepRecord, IsReadAsItWasWritten) {
  const MeasuredSweepRecord sweep{.digest = "original",
                                  .method = "squared",
                                  .points = {{.folder = "4.50-bits",
                                              .bytes = 400,
                                              .bits = 4.5,
                                              .loss = 0.1,
                                              .kl = 0.2,
                                              .mean = 12,
                                              .median = 11},
                                             {.folder = "uniform-4-64",
                                              .bytes = 450,
                                              .bits = 4.6,
                                              .loss = {},
                                              .kl = 0.3,
                                              .mean = 13,
                                              .median = 11.5}},
                                  .a = 10,
                                  .b = 2.5,
                                  .rms = 0.125,
                                  .kl_per_loss = 0.75,
                                  .kl_rms_log = 0.1,
                                  .first_step = 0.2,
                                  .average = 0.3};
  const StudyDocument document = sweep.document();
  EXPECT_EQ(document.key, "original squared");
  EXPECT_EQ(MeasuredSweepRecord::read(document), sweep);
  EXPECT_NE(refusal<MeasuredSweepRecord>("{}"), "accepted");
}

TEST(CurvesRecord, IsReadAsItWasWritten) {
  const CurvesRecord curves{
      .fingerprint = "print",
      .units = {
          {.name = "model.layers.0.mlp.up_proj",
           .role = "up_proj",
           .tensors = 1,
           .weights = 64,
           .points = {{.format = "4:64", .bytes = 36, .nrmse = 0.1, .sqnr_db = 20.5, .mse = 1e-7},
                      {.format = "bf16", .bytes = 128, .nrmse = 0, .sqnr_db = 100, .mse = 0}}},
          {.name = "odd, \"name\"",
           .role = "other",
           .tensors = 2,
           .weights = 8,
           .points = {{.format = "bf16", .bytes = 16, .sqnr_db = 100}}}}};
  EXPECT_EQ(CurvesRecord::read(curves.document()), curves);
  EXPECT_THAT(curves.csv(),
              HasSubstr("\nmodel.layers.0.mlp.up_proj,up_proj,1,64,bf16,128,0,100,0\n"));
}

TEST(CurvesRecord, TakesAnInfiniteRatioAndRefusesAWrongLine) {
  const CurvesRecord read = CurvesRecord::read(
      {.kind = "curves", .key = "k", .text = "head\nu,other,1,8,4:64,9,0,inf,0\n"});
  EXPECT_TRUE(std::isnan(read.units.at(0).points.at(0).sqnr_db));
  EXPECT_EQ(refusal<CurvesRecord>("head\na,b,c\n"), "line 'a,b,c'");
  EXPECT_EQ(refusal<CurvesRecord>("head\nu,other,1,0,4:64,9,0,1,0\n"),
            "line 'u,other,1,0,4:64,9,0,1,0'");
}

TEST(NoiseRecord, IsReadAsItWasWritten) {
  const NoiseRecord noise{.digest = "folder",
                          .model = "demo",
                          .folder = "./out",
                          .rows = 6,
                          .stored = {.kl = 0.1, .delta_nll = -0.01, .mean = 90, .median = 91},
                          .drawn = {{.kl = 0.2, .delta_nll = -0.02, .mean = 92, .median = 94},
                                    {.kl = 0.3, .delta_nll = 0.01, .mean = 93, .median = 95.125}},
                          .verdict = "said"};
  EXPECT_EQ(NoiseRecord::read(noise.document()), noise);
  EXPECT_EQ(noise.json().at("noise").at("kl_mean"), 0.25);
  EXPECT_NE(refusal<NoiseRecord>(R"({"quantized": {}})"), "accepted");
}

TEST(FeedbackRecord, IsReadAsItWasWritten) {
  const FeedbackRecord feedback{
      .digest = "original",
      .variants = {{.folder = "plan",
                    .formats = "plan",
                    .text = "",
                    .bytes = 400,
                    .kl = 0.5,
                    .kl95 = {0.4, 0.6},
                    .over_plain = {}},
                   {.folder = "plan-own",
                    .formats = "plan",
                    .text = "own",
                    .bytes = 400,
                    .kl = 0.125,
                    .kl95 = {0.1, 0.15},
                    .over_plain = {{.value = 0.25, .ci95 = {{0.2, 0.375}}}}},
                   {.folder = "plan-real",
                    .formats = "plan",
                    .text = "real",
                    .bytes = 401,
                    .kl = 0.25,
                    .kl95 = {0.1, 0.3},
                    .over_plain = {{.value = 0.5, .ci95 = {}}}}}};
  EXPECT_EQ(FeedbackRecord::read(feedback.document()), feedback);
  EXPECT_THAT(refusal<FeedbackRecord>(R"({"variants": []})"), HasSubstr("no folder"));
}

TEST(FeedbackRecord, AnIntervalThatOneRowDoesNotGiveIsNoNumber) {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const FeedbackRecord feedback{
      .digest = "d",
      .variants = {{.folder = "a", .formats = "4:64", .kl = 1, .kl95 = {kNone, kNone}}}};
  const FeedbackRecord read = FeedbackRecord::read(feedback.document());
  EXPECT_TRUE(std::isnan(read.variants.at(0).kl95.low));
  EXPECT_TRUE(std::isnan(read.variants.at(0).kl95.high));
}

}  // namespace
}  // namespace ram
