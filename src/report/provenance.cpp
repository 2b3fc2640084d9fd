// Where the data on the page comes from.
#include <algorithm>
#include <ctime>
#include <filesystem>
#include <vector>

#include <fmt/chrono.h>
#include <fmt/format.h>

#include "html.h"
#include "sections.h"

namespace ram {
namespace {

std::string time_text(int64_t ms) {
  const auto seconds = static_cast<std::time_t>(ms / 1000);
  return fmt::format("{:%Y-%m-%d %H:%M:%S} UTC", fmt::gmtime(seconds));
}

double seconds_of(const RunRecord& run) {
  return static_cast<double>(std::max<int64_t>(0, run.last_write_ms - run.started_ms)) / 1000;
}

Cell seconds_cell(const RunRecord& run) {
  if (run.last_write_ms == 0) return Cell::text("");
  return Cell::number(fmt::format("{:.1f}", seconds_of(run)), seconds_of(run));
}

// Usually there is one machine: its name is shown once.
std::string machines_text(const ReportData& data) {
  std::vector<std::string> names;
  for (const RunRecord& run : data.runs) {
    const bool known = std::find(names.begin(), names.end(), run.machine) != names.end();
    if (!run.machine.empty() && !known) names.push_back(run.machine);
  }
  return fmt::format("{}", fmt::join(names, "; "));
}

std::string commands_table(const ReportData& data) {
  HtmlTable table("commands", {{"started", false},
                               {"seconds"},
                               {"program", false},
                               {"asked to do", false},
                               {"machine", false}});
  for (const RunRecord& run : data.runs) {
    table.add({Cell::text(time_text(run.started_ms)), seconds_cell(run), Cell::text(run.program),
               Cell::text(run.options), Cell::text(run.machine)});
  }
  return table.empty() ? "" : "<h3>Commands that wrote to the study</h3>\n" + table.render();
}

std::string folders_table(const ReportData& data) {
  HtmlTable table("folders", {{"folder", false},
                              {"type", false},
                              {"content (XXH3-128)", false},
                              {"method", false},
                              {"encoder", false},
                              {"calibrated on", false},
                              {"rows"},
                              {"bytes"}});
  for (const ReportModel& model : data.models) {
    table.add({Cell::text(model.label), Cell::text(model.record.model_type),
               Cell::text(model.record.digest), Cell::text(model.plan ? model.plan->method : ""),
               Cell::text(model.plan ? model.plan->encoder : ""),
               Cell::text(model.plan ? model.plan->calibration : ""),
               model.rows.empty() ? Cell::text("") : Cell::integer(std::ssize(model.rows)),
               Cell::integer(model.record.bytes)});
  }
  return table.empty() ? "" : table.render();
}

}  // namespace

std::string provenance_section(const ReportData& data) {
  HtmlTable facts("provenance", {{"what", false}, {"value", false}});
  const auto fact = [&](const char* what, const std::string& value) {
    if (!value.empty()) facts.add({Cell::text(what), Cell::text(value)});
  };
  fact("written by", "ram " RAM_VERSION);
  fact("study", std::filesystem::path(data.study).filename().string());
  fact("text", data.text_name);
  fact("text (SHA-256)", data.text);
  fact("rows", data.text.empty() ? "" : data.protocol);
  fact("rows used", data.rows.empty() ? "" : fmt::format("{}", data.rows.size()));
  fact("tokens scored", data.tokens == 0 ? "" : fmt::format("{}", data.tokens));
  fact("noise floor (KL)", data.noise_floor ? fmt::format("{}", *data.noise_floor) : "");
  fact("seed of resampling", fmt::format("{}", data.seed));
  for (const ReportTask& task : data.tasks) {
    facts.add({Cell::text(fmt::format("data of {} (XXH3-128)", task.record.key.task)),
               Cell::text(task.record.key.data)});
  }
  if (!data.runs.empty()) {
    double seconds = 0;
    for (const RunRecord& run : data.runs) seconds += seconds_of(run);
    fact("machine", machines_text(data));
    fact("time spent, all commands", fmt::format("{:.0f} s", seconds));
    fact("first and last work", fmt::format("{} to {}", time_text(data.runs.front().started_ms),
                                            time_text(data.runs.back().started_ms)));
  }
  for (const LeftOut& left : data.left_out) {
    facts.add(
        {Cell::text("not on this page"), Cell::text(fmt::format("{}: {}", left.name, left.why))});
  }
  return section("provenance", "Provenance",
                 facts.render() + folders_table(data) + commands_table(data));
}

}  // namespace ram
