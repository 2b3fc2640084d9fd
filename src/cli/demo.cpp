// ram demo: the whole chain on the bundled model.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/size.h"

#include "commands.h"
#include "fitting.h"
#include "table.h"

namespace ram::cli {

namespace fs = std::filesystem;

namespace {

// Shares of the source's weights, in percent.
constexpr std::array kShares = {35, 45, 60};

struct Options {
  std::string model;
  std::string out = "./ram-demo";
};

bool is_model(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_regular_file(folder / "config.json", ignored);
}

// The folder that the program lies in, found as the shell found it.
fs::path program_folder(const std::string& program) {
  std::error_code ignored;
  if (program.find('/') != std::string::npos) {
    return fs::weakly_canonical(program, ignored).parent_path();
  }
  const char* const path = std::getenv("PATH");
  const std::string_view folders = path == nullptr ? "" : path;
  for (size_t begin = 0; begin < folders.size();) {
    const size_t end = std::min(folders.find(':', begin), folders.size());
    const fs::path file = fs::path(folders.substr(begin, end - begin)) / program;
    if (fs::is_regular_file(file, ignored)) {
      return fs::weakly_canonical(file, ignored).parent_path();
    }
    begin = end + 1;
  }
  return {};
}

// --model, the environment, the installed place, then the source tree around the program.
std::string find_demo_model(const Common& common, const Options& options) {
  if (!options.model.empty()) return options.model;
  const char* const named = std::getenv("RAM_DEMO_MODEL");
  if (named != nullptr && *named != '\0') return named;
  const fs::path folder = program_folder(common.program);
  std::vector<fs::path> places;
  if (!folder.empty()) places.push_back(folder.parent_path() / "share/ram/demo");
  for (fs::path up = folder; up.has_relative_path(); up = up.parent_path()) {
    places.push_back(up / "models/demo");
  }
  places.emplace_back("models/demo");
  for (const fs::path& place : places) {
    if (is_model(place)) return place.string();
  }
  fail(Code::kMissing,
       "the bundled model (models/demo) is not near {}: say where with --model or "
       "RAM_DEMO_MODEL",
       folder.empty() ? common.program : folder.string());
}

// The shares asked for, raised where the smallest safe folder is larger, and kept apart.
std::vector<int64_t> demo_budgets(int64_t source_bytes, int64_t min_safe) {
  std::vector<int64_t> budgets;
  const int64_t step = std::max<int64_t>(0, source_bytes - min_safe) / 10;
  for (size_t i = 0; i < kShares.size(); ++i) {
    const int64_t share = source_bytes / 100 * kShares[i];
    budgets.push_back(std::max(share, min_safe + static_cast<int64_t>(i) * step));
  }
  return budgets;
}

int demo(const Common& common, const Options& options) {
  threads(common);
  const Checkpoint checkpoint = Checkpoint::open(find_demo_model(common, options));
  PlanRequest request;
  request.dtype = checkpoint.default_dtype();
  const fs::path folder(options.out);
  check_output_folder(checkpoint, request, folder / "fit", true);
  Study study = open_study(common, "demo");
  const Curves curves =
      measure_for(common, checkpoint, study, request.method, request.dtype, false);
  const int64_t least = min_safe_bytes(curves.input(checkpoint), request);

  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) fail_errno(true, "cannot create", options.out, failed.value());
  Json fits = Json::array();
  Table table({{"folder", Align::kLeft},
               {"asked"},
               {"bytes"},
               {"of source"},
               {"bits/weight"},
               {"loss"},
               {"check", Align::kLeft}});
  bool ok = true;
  const std::vector<int64_t> budgets = demo_budgets(checkpoint.bytes(), least);
  for (size_t i = 0; i < budgets.size(); ++i) {
    const fs::path out = folder / fmt::format("{}-percent", kShares[i]);
    request.budget_bytes = budgets[i];
    const FitResult result = fit_model(common, checkpoint, study, request, out, true, false);
    RAM_CHECK(result.planned.plan.has_value());
    const Plan& plan = *result.planned.plan;
    const bool whole = result.report.problems.empty();
    ok = ok && whole;
    const double share =
        100.0 * static_cast<double>(plan.total_bytes) / static_cast<double>(checkpoint.bytes());
    table.add({out.string(), std::to_string(plan.budget_bytes), std::to_string(plan.total_bytes),
               fmt::format("{:.1f} %", share), fmt::format("{:.3f}", plan.bits_per_weight),
               fmt::format("{:.5g}", plan.objective),
               whole ? "verified" : result.report.problems.front()});
    fits.push_back({{"out", out.string()},
                    {"budget_bytes", plan.budget_bytes},
                    {"total_bytes", plan.total_bytes},
                    {"bits_per_weight", plan.bits_per_weight},
                    {"objective", plan.objective},
                    {"lower_bound", plan.lower_bound},
                    {"verified", whole},
                    {"problems", result.report.problems}});
  }
  if (common.json) {
    const Json document = {{"model", checkpoint.folder.string()},
                           {"source_bytes", checkpoint.bytes()},
                           {"min_safe_bytes", least},
                           {"fits", std::move(fits)}};
    print_result(common, document.dump(2) + "\n");
  } else {
    print_result(common,
                 fmt::format("{} ({}, {} of weights) at three budgets:\n\n", checkpoint.name,
                             checkpoint.model_type, format_bytes(checkpoint.bytes())) +
                     table.render() +
                     fmt::format("\nnext:\n  mlx_lm.generate --model {0} --prompt \"Hello\"\n"
                                 "  ram explain {0}\n",
                                 (folder / fmt::format("{}-percent", kShares[0])).string()));
  }
  return ok ? kDone : kCheckFailed;
}

}  // namespace

Action setup_demo(CLI::App& app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("--model", options->model, "another model than the bundled one")
      ->type_name("MODEL");
  app.add_option("-o,--out,--output", options->out, "where the folders go (default ./ram-demo)")
      ->type_name("FOLDER");
  return [options, &common] { return demo(common, *options); };
}

}  // namespace ram::cli
