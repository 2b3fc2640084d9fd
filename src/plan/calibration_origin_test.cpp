#include <functional>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/plan.h"

#include "plan_test_support.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const std::string kHash(64, 'a');

TEST(CalibrationOrigin, SaysHowATextCameAbout) {
  const auto own = parse_calibration(
      "own random-start rows 8 length 64 seed 7 rule 1 sequential digest 0123abcd");
  ASSERT_TRUE(own.has_value());
  EXPECT_EQ(own->source, "own");
  EXPECT_TRUE(own->random_start);
  EXPECT_EQ(own->rows, 8);
  EXPECT_EQ(own->length, 64);
  EXPECT_EQ(own->seed, 7U);
  EXPECT_TRUE(own->sequential);
  EXPECT_EQ(own->digest, "0123abcd");
  const auto file =
      parse_calibration("file sha256 " + kHash + " rows 64 length 256 seed 42 rule 2");
  ASSERT_TRUE(file.has_value());
  EXPECT_EQ(file->sha256, kHash);
  EXPECT_FALSE(file->sequential);
  EXPECT_EQ(file->digest, "");
  EXPECT_TRUE(parse_calibration("random rows 1 length 2 seed 18446744073709551615 rule 0"));
}

TEST(CalibrationOrigin, GivesTheWordsOfTheTextAlone) {
  for (const std::string& spec :
       {std::string("own random-start rows 8 length 64 seed 7 rule 1"),
        std::string("random rows 1 length 2 seed 18446744073709551615 rule 0"),
        "file sha256 " + kHash + " rows 64 length 256 seed 42 rule 2"}) {
    for (const char* use : {"", " sequential", " digest 01ab", " sequential digest 01ab"}) {
      EXPECT_EQ(calibration_spec(*parse_calibration(spec + use)), spec);
    }
  }
}

TEST(CalibrationOrigin, RefusesWhateverIsOfAnotherForm) {
  for (const std::string bad : {"",
                                "own",
                                "own rows 0 length 64 seed 7 rule 1",
                                "own rows -1 length 64 seed 7 rule 1",
                                "own rows +1 length 64 seed 7 rule 1",
                                "own rows 8 length 0 seed 7 rule 1",
                                "own rows 8 length 1 seed 7 rule 1",
                                "own rows 8 length 64 seed -7 rule 1",
                                "own rows 99999999999999999999 length 64 seed 7 rule 1",
                                "own rows 65537 length 64 seed 7 rule 1",
                                "own rows 8 length 8193 seed 7 rule 1",
                                "own rows 8x length 64 seed 7 rule 1",
                                "own rows  8 length 64 seed 7 rule 1",
                                "own rows 8 length 64 seed 7 rule 1 ",
                                "own rows 8 length 64 seed 7 rule 1 digest",
                                "own rows 8 length 64 seed 7 rule 1 digest xyz",
                                "own rows 8 length 64 seed 7",
                                "own length 64 rows 8 seed 7 rule 1",
                                "/etc/passwd rows 8 length 64 seed 7 rule 1",
                                "random random-start rows 8 length 64 seed 7 rule 1",
                                "file sha256 abc rows 8 length 64 seed 7 rule 1",
                                "file rows 8 length 64 seed 7 rule 1"}) {
    EXPECT_FALSE(parse_calibration(bad).has_value()) << bad;
  }
}

PlanRequest calibrated(const std::string& calibration) {
  PlanRequest request;
  request.budget_bytes = 1000000;
  request.method = Method::kMeasured;
  request.encoder = Encoder::kFeedback;
  request.calibration = calibration;
  return request;
}

TEST(SameRequest, TellsApartWhateverDecidesTheFolder) {
  const std::string text = "own rows 8 length 64 seed 42 rule 1 sequential";
  const PlanRequest made = calibrated(text + " digest 0123");
  EXPECT_TRUE(same_request(made, calibrated(text)));
  EXPECT_TRUE(same_request(made, made));
  for (const std::string other :
       {"own rows 9 length 64 seed 42 rule 1 sequential",
        "own rows 8 length 65 seed 42 rule 1 sequential",
        "own rows 8 length 64 seed 43 rule 1 sequential",
        "own rows 8 length 64 seed 42 rule 2 sequential", "own rows 8 length 64 seed 42 rule 1",
        "own random-start rows 8 length 64 seed 42 rule 1 sequential",
        "random rows 8 length 64 seed 42 rule 1 sequential"}) {
    EXPECT_FALSE(same_request(made, calibrated(other))) << other;
  }
  EXPECT_FALSE(same_request(made, calibrated(text + " digest 4567")));
  const std::string rest = " rows 8 length 64 seed 42 rule 1";
  EXPECT_FALSE(same_request(calibrated("file sha256 " + kHash + rest),
                            calibrated("file sha256 " + std::string(64, 'b') + rest)));
  const auto differs = [&](const std::function<void(PlanRequest&)>& change) {
    PlanRequest other = calibrated(text);
    change(other);
    return !same_request(made, other);
  };
  EXPECT_TRUE(differs([](PlanRequest& r) { r.time_limit_s = 11; }));
  EXPECT_TRUE(differs([](PlanRequest& r) { r.probe_seconds = 20; }));
  EXPECT_TRUE(differs([](PlanRequest& r) { r.coefficient_source = CoefficientSource::kGradient; }));
  EXPECT_TRUE(differs([](PlanRequest& r) { r.dtype = DType::kF16; }));
  EXPECT_TRUE(differs([](PlanRequest& r) { r.budget_bytes = 1000001; }));
  EXPECT_TRUE(differs([](PlanRequest& r) { r.encoder = Encoder::kSearch; }));
}

TEST(ModelCard, SaysHowToMakeTheSameFolderAgain) {
  const PlanningModel model;
  PlanRequest request = model.with_budget(model.min_safe_bytes() + 100000);
  request.time_limit_s = 20;
  request.dtype = DType::kF16;
  request.encoder = Encoder::kFeedback;
  const auto card = [&](const std::string& calibration, double probe_seconds) {
    PlanRequest use = request;
    use.calibration = calibration;
    use.probe_seconds = probe_seconds;
    const FolderLayout layout = layout_plan(model.checkpoint, *model.plan(use).plan);
    for (const RenderedFile& file : layout.rendered) {
      if (file.name == "README.md") return file.text;
    }
    return std::string();
  };
  const std::string size = fmt::format("ram fit model --budget {} ", *request.budget_bytes);
  const std::string own = card("own rows 8 length 64 seed 7 rule 1 sequential digest 0123", 0);
  EXPECT_THAT(
      own,
      HasSubstr(size + "--method squared --encoder feedback --time-limit 20 --calibration-rows 8 "
                       "--calibration-length 64 --seed 7 --dtype f16 -o OUT"));
  const std::string file =
      card("file sha256 " + kHash + " rows 64 length 256 seed 42 rule 1 digest 0123", 0);
  EXPECT_THAT(
      file,
      HasSubstr(size + "--method squared --encoder feedback --time-limit 20 --calibration FILE "
                       "--calibration-inputs original --dtype f16 -o OUT"));
  EXPECT_THAT(file, HasSubstr("FILE is the text whose SHA-256 is " + kHash));
  const std::string timed =
      card("random rows 64 length 256 seed 42 rule 1 sequential digest 0123", 20);
  EXPECT_THAT(timed, HasSubstr("ram quantize model --plan plan.json -o OUT"));
  EXPECT_THAT(timed, Not(HasSubstr("ram fit")));
}

TEST(PlanJson, KeepsLimitsAndRefusesACalibrationOfAnotherForm) {
  const PlanningModel model;
  PlanRequest request = model.with_budget(model.min_safe_bytes() + 100000);
  request.time_limit_s = 12.5;
  request.probe_seconds = 90;
  request.coefficient_source = CoefficientSource::kGradient;
  request.calibration = "own rows 8 length 64 seed 7 rule 1 digest 0123";
  const std::string text = render_plan(*model.plan(request).plan);
  const Plan read = parse_plan(text, "plan.json");
  EXPECT_EQ(read.request.time_limit_s, 12.5);
  EXPECT_EQ(read.request.probe_seconds, 90);
  EXPECT_EQ(read.request.coefficient_source, CoefficientSource::kGradient);
  EXPECT_EQ(read.request.calibration, request.calibration);
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    changed.replace(changed.find(from), from.size(), to);
    return changed;
  };
  EXPECT_THROW(parse_plan(replaced("rows 8", "rows 0"), "plan.json"), Error);
  EXPECT_THROW(parse_plan(replaced("\"probe_seconds\": 90", "\"probe_seconds\": -1"), "plan.json"),
               Error);
  EXPECT_THROW(
      parse_plan(replaced("\"time_limit_s\": 12.5", "\"time_limit_s\": 1e999"), "plan.json"),
      Error);
}

}  // namespace
}  // namespace ram
