// The figures made from a unit's sums, compared with the published definitions computed by hand.
#include "ram/curve.h"

#include <cmath>

#include <gtest/gtest.h>

namespace ram {
namespace {

constexpr int kFormat = 7;

// Two parts of 100 weights: RMS 1 and 10, relative errors 0.1 and 0.01.
UnitCurve two_parts() {
  UnitCurve curve{.formats = 1U << kFormat, .part_weights = 100, .parts = {}, .pooled = {}};
  curve.parts.resize(2);
  curve.parts[0].sum_squares = 100;
  curve.parts[0].squared_error[kFormat] = 1;
  curve.parts[1].sum_squares = 10'000;
  curve.parts[1].squared_error[kFormat] = 1;
  for (const Distortion& part : curve.parts) curve.pooled += part;
  return curve;
}

TEST(UnitCurveTest, NrmseIsPooledForMlxAndTheMeanOverPartsForTheReference) {
  const UnitCurve curve = two_parts();
  EXPECT_DOUBLE_EQ(curve.nrmse(kFormat, Encoder::kMlx), std::sqrt(2.0 / 10'100));
  EXPECT_DOUBLE_EQ(curve.nrmse(kFormat, Encoder::kSimulated), (0.1 + 0.01) / 2);
}

TEST(UnitCurveTest, SqnrIsTheLeastOverThePartsAndMseIsPerWeight) {
  const UnitCurve curve = two_parts();
  EXPECT_DOUBLE_EQ(curve.sqnr_db(kFormat), 20);
  EXPECT_DOUBLE_EQ(curve.mse(kFormat), 0.01);
}

TEST(UnitCurveTest, AUnitOfZerosLosesNothing) {
  UnitCurve curve{.formats = 1U << kFormat, .part_weights = 100, .parts = {}, .pooled = {}};
  curve.parts.resize(3);
  EXPECT_EQ(curve.nrmse(kFormat, Encoder::kMlx), 0);
  EXPECT_EQ(curve.nrmse(kFormat, Encoder::kSimulated), 0);
  EXPECT_EQ(curve.sqnr_db(kFormat), 100);
  EXPECT_EQ(curve.mse(kFormat), 0);
  curve.part_weights = 0;
  EXPECT_EQ(curve.mse(kFormat), 0);
  EXPECT_EQ(curve.sqnr_db(kFormat), 100);
}

TEST(UnitCurveDeathTest, AFormatThatWasNotMeasuredIsNotAnsweredFor) {
  EXPECT_ANY_THROW(two_parts().nrmse(kFormat + 1, Encoder::kMlx));
}

}  // namespace
}  // namespace ram
