#include "line_fit.h"

#include <cmath>
#include <vector>

#include <gtest/gtest.h>

namespace ram {
namespace {

TEST(LineFit, FindsALineThatIsThere) {
  const std::vector<double> x = {0, 1, 4};
  const LineFit fit = fit_line(x, std::vector<double>{10, 12.5, 20});
  EXPECT_NEAR(fit.a, 10, 1e-12);
  EXPECT_NEAR(fit.b, 2.5, 1e-12);
  EXPECT_NEAR(fit.rms, 0, 1e-12);
}

TEST(LineFit, LeavesTheLeastSquares) {
  // By hand: b = 1/2, a = 1/3, residuals 1/6, -1/3, 1/6 with changed sign.
  const LineFit fit = fit_line(std::vector<double>{-1, 0, 1}, std::vector<double>{0, 0, 1});
  EXPECT_NEAR(fit.a, 1.0 / 3, 1e-12);
  EXPECT_NEAR(fit.b, 0.5, 1e-12);
  EXPECT_NEAR(fit.rms, std::sqrt(1.0 / 18), 1e-12);
}

TEST(LineFit, IsLevelWhereAllXAreEqual) {
  const LineFit fit = fit_line(std::vector<double>{2, 2}, std::vector<double>{1, 3});
  EXPECT_EQ(fit.b, 0);
  EXPECT_EQ(fit.a, 2);
  EXPECT_EQ(fit.rms, 1);
}

}  // namespace
}  // namespace ram
