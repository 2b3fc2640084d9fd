// Requests whose coefficients gave way to the priors: plan.json has nothing of them, and the same
// command finds its folder again.
#include "places.h"

#include <gtest/gtest.h>

#include "ram/plan.h"

namespace ram {
namespace {

PlanRequest measured_by_noise() {
  PlanRequest request;
  request.budget_bytes = 1'000'000;
  request.method = Method::kMeasured;
  request.encoder = Encoder::kFeedback;
  request.calibration = "own rows 8";
  return request;
}

TEST(ByPriors, NothingOfAMeasurementIsLeft) {
  PlanRequest request = measured_by_noise();
  const PlanRequest plain = by_priors(request);
  for (const CoefficientSource source : {CoefficientSource::kNoise, CoefficientSource::kGradient}) {
    request.coefficient_source = source;
    request.probe_seconds = 30;
    request.coefficients = {{"lm_head", 2}};
    request.gains.units = {{"lm_head", 0.5}};
    const PlanRequest found = by_priors(request);
    EXPECT_EQ(found.method, Method::kSquared);
    EXPECT_EQ(found.calibration, request.calibration);
    EXPECT_TRUE(found.coefficients.empty() && found.gains.units.empty());
    EXPECT_EQ(found.coefficient_source, plain.coefficient_source);
    EXPECT_EQ(found.probe_seconds, 0);
    EXPECT_TRUE(same_request(found, plain));
    EXPECT_TRUE(was_asked(request, found));
  }
}

TEST(ByPriors, OtherMethodsStay) {
  PlanRequest request = measured_by_noise();
  request.method = Method::kPublished;
  EXPECT_EQ(by_priors(request).method, Method::kPublished);
}

TEST(ByPriors, AnotherRequestIsNotWhatWasAsked) {
  const PlanRequest request = measured_by_noise();
  PlanRequest made = by_priors(request);
  EXPECT_TRUE(was_asked(request, made));
  made.budget_bytes = 2'000'000;
  EXPECT_FALSE(was_asked(request, made));
  made = by_priors(request);
  made.calibration.clear();  // then priors were asked for
  EXPECT_FALSE(was_asked(request, made));
}

}  // namespace
}  // namespace ram
