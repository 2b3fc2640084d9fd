#include "forecast.h"

#include <fmt/format.h>

#include "ram/size.h"
#include "ram/table.h"
#include "ram/text.h"

namespace ram::cli {
namespace {

std::string about(double seconds) {
  return seconds < 0.005 ? "-" : format_seconds(seconds);
}

std::string bytes_cell(int64_t bytes) {
  return bytes > 0 ? format_bytes(bytes) : "-";
}

}  // namespace

std::string forecast_text(const FitForecast& forecast) {
  Table table({{"stage", Align::kLeft}, {"time, about"}, {"memory"}, {"disk"}});
  for (size_t i = 0; i < forecast.stages.size(); ++i) {
    const StageForecast& stage = forecast.stages[i];
    table.add({fmt::format("{} {}", i + 1, stage.name), about(stage.seconds),
               bytes_cell(stage.memory_bytes), bytes_cell(stage.disk_bytes)});
  }
  table.add({"in all", about(forecast.seconds()), bytes_cell(forecast.memory_bytes()),
             bytes_cell(forecast.disk_bytes())});
  return table.render();
}

}  // namespace ram::cli
