// Forecasts of a calibration: omitting one stage does not lose the time of another.
#include <vector>

#include <gtest/gtest.h>

#include "ram/calibrate.h"

#include "support/temp_folder.h"
#include "support/tiny_model.h"

namespace ram {
namespace {

class Forecast : public ::testing::Test {
 protected:
  Forecast() {
    testing::write_tiny_model(folder_.path(), {});
    model_.emplace(Checkpoint::open(folder_.path().string()), EngineOptions{.threads = 2});
    work_ = {.rows = 4,
             .length = 16,
             .write_text = false,
             .units = {},
             .coefficients = false,
             .gains = false};
  }
  CalibrationForecast of_layer(int layer) {
    work_.units.clear();
    const std::vector<Unit>& units = model_->checkpoint().units;
    for (size_t u = 0; u < units.size(); ++u) {
      if (units[u].quantizable && units[u].layer == layer) {
        work_.units.push_back(static_cast<int>(u));
      }
    }
    constexpr int64_t kEnough = int64_t{1} << 30;
    return forecast_calibration(*model_, work_,
                                {.model = kEnough, .variants = kEnough, .moments = kEnough});
  }

  testing::TempFolder folder_;
  std::optional<LanguageModel> model_;
  CalibrationWork work_;
};

TEST_F(Forecast, WhatIsLeftOutTakesNoTime) {
  const CalibrationForecast forecast = of_layer(1);
  EXPECT_EQ(forecast.text.seconds, 0);
  EXPECT_EQ(forecast.coefficients.seconds, 0);  // packing is not counted here either
  EXPECT_EQ(forecast.gains.seconds, 0);
  EXPECT_GT(forecast.compress.seconds, 0);
}

TEST_F(Forecast, CountsTheRowsThatGoBack) {
  work_.coefficients = true;
  work_.gradients = true;
  const CalibrationForecast forecast = of_layer(1);
  EXPECT_GT(forecast.coefficients.seconds, 0);
  EXPECT_EQ(forecast.least_coefficients_seconds, 0);
  EXPECT_GT(forecast.coefficients.memory_bytes, forecast.text.memory_bytes);
}

TEST_F(Forecast, CountsMomentsAlsoWhereTheMiddleLayerIsKept) {
  const CalibrationForecast middle = of_layer(1);
  const CalibrationForecast other = of_layer(0);
  EXPECT_GT(middle.compress.memory_bytes, 0);
  EXPECT_EQ(other.compress.memory_bytes, middle.compress.memory_bytes);
}

}  // namespace
}  // namespace ram
