// The page of a handmade study: what is shown, what is escaped, what is refused.
#include "ram/report.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ram/error.h"

#include "gather.h"
#include "html.h"
#include "plot.h"
#include "test_study.h"

namespace ram {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(ReportTest, GathersWhatWasComparedOnTheRowsThatAllShare) {
  fill();
  const ReportData data = gather(*study_, {});
  ASSERT_EQ(data.models.size(), 3U);
  EXPECT_EQ(data.models[0].label, "base");
  EXPECT_EQ(data.models[0].series, Series::kReference);
  EXPECT_EQ(data.models[1].label, "small") << "by size";
  EXPECT_EQ(data.models[1].series, Series::kOwn);
  EXPECT_EQ(data.models[2].series, Series::kUniform);
  EXPECT_EQ(data.rows, (std::vector<int64_t>{0, 10, 20, 30}));
  EXPECT_EQ(data.tokens, 12);
  EXPECT_NEAR(data.models[1].difference->delta, 0.6 / 12, 1e-12);
  EXPECT_NEAR(data.models[1].kl->delta, 0.1 + 1e-3 / 3, 1e-7);
  EXPECT_NEAR(*data.noise_floor, 1e-3 / 3, 1e-9);
  EXPECT_FALSE(data.models[1].dominated);
  EXPECT_TRUE(data.models[2].dominated) << "larger, and farther from the original";
}

TEST_F(ReportTest, ShowsTheOriginalThatIsAskedFor) {
  fill();
  EXPECT_THAT(make_report(*study_, {.model = "base"}), HasSubstr("<title>ram: base</title>"));
  const Error error = error_of({.model = "nobody", .study = "s.db"});
  EXPECT_EQ(error.code(), Code::kMissing);
  EXPECT_THAT(error.what(), HasSubstr("there are base, large, small"));
}

TEST_F(ReportTest, EscapesWhatComesFromFiles) {
  fill();
  add_model("evil", "<script>alert('1')</script>&\"", 450, {3, 4, 5, 6});
  add_divergence("evil", 0.15F);
  study_->set_options("compare </pre><b>");
  study_->put_document(
      {.kind = "sweep", .key = "other squared", .text = "{}"});  // of another source
  const std::string page = make_report(*study_, {});
  EXPECT_THAT(page, Not(HasSubstr("<script>alert")));
  EXPECT_THAT(page, Not(HasSubstr("</pre><b>")));
  EXPECT_THAT(page, HasSubstr("&lt;script&gt;alert(&#39;1&#39;)&lt;/script&gt;&amp;&quot;"));
}

TEST_F(ReportTest, ShowsErrorsBesideNoise) {
  fill();
  EXPECT_THAT(make_report(*study_, {}), Not(HasSubstr("id=\"noise\"")));
  study_->put_document({.kind = "noise", .key = "small", .text = R"({
    "quantized": {"kl": 0.1, "delta_nll": -0.01, "mean_perplexity": 90, "median_perplexity": 91},
    "noise": {"kl": [0.2, 0.3], "delta_nll": [-0.02, 0.01], "mean_perplexity": [92, 93],
              "median_perplexity": [94, 95.125]}, "verdict": "said & done"})"});
  study_->put_document({.kind = "noise", .key = "nobody", .text = "of a folder that is not shown"});
  const ReportData data = gather(*study_, {});
  ASSERT_EQ(data.noises.size(), 1U);
  EXPECT_EQ(data.models[data.noises[0].first].label, "small");
  EXPECT_EQ(data.noises[0].second.drawn[1].median, 95.125);
  const std::string page = make_report(*study_, {});
  EXPECT_THAT(page, HasSubstr("small: its errors do 0.40 times the harm"));
  EXPECT_THAT(page, HasSubstr("said &amp; done"));
  EXPECT_THAT(page, HasSubstr("95.125"));
  study_->put_document({.kind = "noise", .key = "small", .text = R"({
    "quantized": {"kl": 0.5, "delta_nll": 0, "mean_perplexity": 90, "median_perplexity": 91},
    "noise": {"kl": [0, 0], "delta_nll": [0, 0], "mean_perplexity": [92, 93],
              "median_perplexity": [94, 95]}, "verdict": "no harm"})"});
  const std::string none = make_report(*study_, {});
  EXPECT_THAT(none, HasSubstr("small: its errors have a KL of 0.5, noise of their size has none"));
  EXPECT_THAT(none, Not(HasSubstr("inf times")));
  study_->put_document({.kind = "noise", .key = "small", .text = R"({"quantized": {}})"});
  EXPECT_EQ(error_of().code(), Code::kCorrupt);
}

TEST_F(ReportTest, ShowsWhatFeedbackLeavesOfPlainRounding) {
  fill();
  EXPECT_THAT(make_report(*study_, {}), Not(HasSubstr("id=\"feedback\"")));
  study_->put_document({.kind = "gptq", .key = "original", .text = R"({"variants": [
    {"folder": "plan", "formats": "plan", "calibration": "", "total_bytes": 400, "kl_mean": 0.5,
     "kl_ci95": [0.4, 0.6], "over_plain": null},
    {"folder": "plan-own", "formats": "plan", "calibration": "own", "total_bytes": 400,
     "kl_mean": 0.125, "kl_ci95": [0.1, 0.15],
     "over_plain": {"kl_ratio": 0.25, "ci95": [0.2, 0.375]}}]})"});
  study_->put_document({.kind = "gptq", .key = "another", .text = "of another original"});
  const ReportData data = gather(*study_, {});
  ASSERT_TRUE(data.feedback);
  ASSERT_EQ(data.feedback->variants.size(), 2U);
  EXPECT_FALSE(data.feedback->variants[0].over_plain);
  EXPECT_EQ(data.feedback->variants[1].over_plain->ci95->high, 0.375);
  EXPECT_THAT(make_report(*study_, {}),
              HasSubstr("feedback on its own text leaves 0.25 (0.20 to 0.38) of the divergence"));
  study_->put_document({.kind = "gptq", .key = "original", .text = R"({"variants": [
    {"folder": "4-64", "formats": "4:64", "calibration": "", "total_bytes": 400, "kl_mean": 0.5,
     "kl_ci95": [null, null], "over_plain": null},
    {"folder": "plan-own", "formats": "plan", "calibration": "own", "total_bytes": 400,
     "kl_mean": 0.25, "kl_ci95": [null, null], "over_plain": {"kl_ratio": 0.5, "ci95": null}}]})"});
  const std::string one_row = make_report(*study_, {});
  EXPECT_THAT(one_row, HasSubstr("feedback on its own text leaves 0.50 of the divergence"));
  EXPECT_THAT(one_row, Not(HasSubstr(">nan<")));
  EXPECT_THAT(one_row, Not(HasSubstr("(nan")));
  study_->put_document({.kind = "gptq", .key = "original", .text = R"({"variants": []})"});
  EXPECT_EQ(error_of().code(), Code::kCorrupt);
}

TEST_F(ReportTest, ShowsTheMeasuredCurveBesideItsFits) {
  fill();
  EXPECT_THAT(make_report(*study_, {}), Not(HasSubstr("id=\"measured\"")));
  study_->put_document({.kind = "measured_sweep", .key = "original squared", .text = R"({"points": [
    {"folder": "a", "uniform": false, "total_bytes": 1000000, "loss": 1, "kl_mean": 0.5,
     "mean_perplexity": 12},
    {"folder": "b", "uniform": false, "total_bytes": 3000000, "loss": 0.1, "kl_mean": 0.1,
     "mean_perplexity": 10.5},
    {"folder": "u", "uniform": true, "total_bytes": 2000000, "loss": null, "kl_mean": 0.3,
     "mean_perplexity": 11}],
    "fit": {"a": 10, "b": 2.5, "rms": 0.125}, "kl_per_loss": 0.75, "kl_rms_log": 0,
    "first_step_kl_per_mb": 0.2, "average_kl_per_mb": 0.2})"});
  const ReportData data = gather(*study_, {});
  ASSERT_EQ(data.measured_sweeps.size(), 1U);
  EXPECT_EQ(data.measured_sweeps[0].method, "squared");
  EXPECT_FALSE(data.measured_sweeps[0].points[2].loss);
  const std::string page = make_report(*study_, {});
  EXPECT_THAT(page, HasSubstr("KL = 0.75 x loss, which holds within a factor of 1.00"));
  EXPECT_THAT(page, HasSubstr("10 + 2.5 ln(1 + loss), with residuals of 0.12"));
  EXPECT_THAT(page, HasSubstr("saves 0.2 KL per MB"));
  EXPECT_THAT(page, HasSubstr("11.7329")) << "10 + 2.5 ln 2, by the fit";
  study_->put_document({.kind = "measured_sweep", .key = "original squared", .text = "{}"});
  EXPECT_EQ(error_of().code(), Code::kCorrupt);
}

TEST_F(ReportTest, DrawsTheLimitOfASweepThatHasOne) {
  fill();
  const auto page_with = [&](const std::string& limit) {
    study_->put_document({.kind = "sweep", .key = "print measured", .text = R"({
      "method": "measured", "knee_total_bytes": 400, "points": [
      {"total_bytes": 400, "bits_per_weight": 4, "loss": 1)" + limit + R"(},
      {"total_bytes": 800, "bits_per_weight": 8, "loss": 0.1)" + limit + "}]}"});
    return make_report(*study_, {});
  };
  EXPECT_THAT(page_with(""), Not(HasSubstr("limit of codes")));
  EXPECT_THAT(page_with(R"(, "limit": null)"), Not(HasSubstr("limit of codes")));
  const std::string page = page_with(R"(, "limit": 0.0625)");
  EXPECT_THAT(page, HasSubstr("limit of codes with independent errors"));
  EXPECT_THAT(page, HasSubstr(">0.0625<"));
}

TEST_F(ReportTest, KnowsThePublishedMethodByItsFormerNameToo) {
  fill();
  const auto put_sweep = [&](const std::string& method, int points) {
    std::string list;
    for (int i = 0; i < points; ++i) {
      list += std::string(i > 0 ? "," : "") +
              R"({"total_bytes": 400, "bits_per_weight": 4, "loss": 1})";
    }
    study_->put_document({.kind = "sweep",
                          .key = "print " + method,
                          .text = R"({"method": ")" + method +
                                  R"(", "knee_total_bytes": 400, "points": [)" + list + "]}"});
  };
  put_sweep("ram", 1);
  study_->put_document({.kind = "plan", .key = "small", .text = plan_text("ram", 400)});
  ReportData data = gather(*study_, {});
  ASSERT_EQ(data.sweeps.size(), 1U);
  EXPECT_EQ(data.sweeps[0].method, "published");
  const auto published = [](const ReportModel& model) {
    return model.series == Series::kPublished && model.plan->method == "published";
  };
  EXPECT_TRUE(std::any_of(data.models.begin(), data.models.end(), published));
  put_sweep("published", 2);
  data = gather(*study_, {});
  ASSERT_EQ(data.sweeps.size(), 1U);
  EXPECT_EQ(data.sweeps[0].points.size(), 2U);
}

TEST_F(ReportTest, RefusesAnEmptyStudyAndADamagedDocument) {
  EXPECT_EQ(error_of().code(), Code::kMissing);
  EXPECT_THAT(error_of().what(), HasSubstr("ram compare"));
  fill();
  for (const char* text : {"", "{", "[]", R"({"method": 3})"}) {
    // A folder's plan.json is a user's file: a damaged one does not hide other folders.
    study_->put_document({.kind = "plan", .key = "small", .text = text});
    const ReportData data = gather(*study_, {});
    const auto small = std::find_if(data.models.begin(), data.models.end(),
                                    [](const auto& m) { return m.record.digest == "small"; });
    ASSERT_NE(small, data.models.end()) << text;
    EXPECT_FALSE(small->plan.has_value()) << text;
    EXPECT_THAT(make_report(*study_, {}), HasSubstr(small->record.name));
  }
  study_->put_document({.kind = "plan", .key = "small", .text = plan_text("squared", 400)});
  study_->put_document({.kind = "curves", .key = "print", .text = "head\na,b,c\n"});
  EXPECT_EQ(error_of().code(), Code::kCorrupt);
  study_->put_document({.kind = "curves", .key = "print", .text = "head\n"});
  study_->put_document(
      {.kind = "sweep", .key = "print squared", .text = R"({"method": "squared"})"});
  EXPECT_EQ(error_of().code(), Code::kCorrupt);
}

TEST(Html, CsvKeepsFullValuesAndQuotesWhatNeedsIt) {
  HtmlTable table("t", {{"a,b", false}, {"n"}});
  table.add({Cell::text("x \"y\""), Cell::number("0.3", 1.0 / 3)});
  const std::string html = table.render();
  EXPECT_THAT(html, HasSubstr("&quot;a,b&quot;,n\n&quot;x &quot;&quot;y&quot;&quot;&quot;,"
                              "0.3333333333333333\n"));
  EXPECT_THAT(html, HasSubstr("<td class=\"n\" data-v=\"0.3333333333333333\">0.3</td>"));
}

TEST(Html, ControlCharactersDoNotReachThePage) {
  EXPECT_EQ(escape_html(std::string("a\x01\x1b\n<", 5)), "a\xEF\xBF\xBD\xEF\xBF\xBD\n&lt;");
}

TEST(Plot, LeavesOutLabelsThatFindNoRoomAndClampsWhatLiesOutside) {
  Plot plot("p", {.title = "x", .low = 0, .high = 1},
            {.title = "y", .low = 0.1, .high = 10, .logarithmic = true});
  for (int i = 0; i < 30; ++i) plot.mark({.x = 0.5, .y = 1, .label = "the same place"});
  plot.mark({.x = 0.5, .y = 1e9, .label = ""});
  const std::string svg = plot.render("");
  size_t labels = 0;
  for (size_t at = svg.find(">the same place<"); at != std::string::npos;
       at = svg.find(">the same place<", at + 1)) {
    ++labels;
  }
  EXPECT_GE(labels, 1U);
  EXPECT_LE(labels, 8U);
  EXPECT_THAT(svg, Not(HasSubstr("nan")));
  EXPECT_THAT(svg, Not(HasSubstr("inf")));
}

TEST(Plot, WritesShortNumbers) {
  EXPECT_EQ(short_number(0), "0");
  EXPECT_EQ(short_number(1e-4), "1e-4");
  EXPECT_EQ(short_number(2.5e-5), "2.5e-5");
  EXPECT_EQ(short_number(1234.5), "1234");
  EXPECT_EQ(short_number(-0.25), "-0.25");
}

}  // namespace
}  // namespace ram
