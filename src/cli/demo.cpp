// ram demo: the whole chain on the bundled model, from fitting to what it is worth.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/report.h"
#include "ram/size.h"
#include "ram/tasks.h"
#include "ram/text.h"

#include "calibration.h"
#include "commands.h"
#include "comparison.h"
#include "engine_options.h"
#include "outputs.h"
#include "sweep.h"
#include "table.h"
#include "tasks.h"

namespace ram::cli {

namespace fs = std::filesystem;

namespace {

// Shares of the source's weights, in percent.
constexpr std::array kShares = {25, 32, 45};

// Of the held-out text: enough for intervals that tell the folders apart, in seconds.
constexpr int64_t kRowLength = 512;
constexpr int64_t kRows = 48;
constexpr int kSweepPoints = 24;

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

struct Fitted {
  std::string label;
  fs::path folder;
  FitResult result;

  const Plan& plan() const { return *result.planned.plan; }
  bool whole() const { return result.report.problems.empty(); }
};

Fitted fit_one(const Common& common, const Checkpoint& checkpoint, Study& study,
               const PlanRequest& request, const fs::path& folder, const std::string& label) {
  Fitted fitted = {.label = label, .folder = folder / label, .result = {}};
  const Reporter reporter(common);
  fitted.result = fit(checkpoint, study,
                      {.plan = request,
                       .calibration = {},
                       .out = fitted.folder,
                       .force = true,
                       .resources = fit_resources(common, /*runs_model=*/false)},
                      reporter.events());
  RAM_CHECK(fitted.result.planned.plan.has_value());
  return fitted;
}

// The default at all budgets; at the middle one the published method comes first, and the default
// gets exactly the bytes that it took. A uniform format is built too.
std::vector<Fitted> fit_all(const Common& common, const Checkpoint& checkpoint, Study& study,
                            const PlanRequest& request, const std::vector<int64_t>& budgets,
                            const fs::path& folder) {
  PlanRequest published = request;
  published.method = Method::kRam;
  const Curves curves =
      measure_for(common, checkpoint, study, published.method, request.dtype, false);
  published.budget_bytes =
      std::max(budgets[budgets.size() / 2], min_safe_bytes(curves.input(checkpoint), published));
  PlanRequest uniform = request;
  uniform.method = Method::kUniform;
  uniform.uniform = AffineFormat{.bits = 4, .group_size = 64};

  std::vector<Fitted> fits;
  fits.push_back(fit_one(common, checkpoint, study, uniform, folder, "uniform-4-64"));
  fits.push_back(fit_one(common, checkpoint, study, published, folder, "published"));
  const int64_t published_bytes = fits.back().plan().total_bytes;
  for (size_t i = 0; i < budgets.size(); ++i) {
    PlanRequest own = request;
    own.budget_bytes = i == budgets.size() / 2 ? published_bytes : budgets[i];
    fits.push_back(
        fit_one(common, checkpoint, study, own, folder, fmt::format("{}-percent", kShares[i])));
  }
  return fits;
}

std::string fits_table(const Checkpoint& checkpoint, const std::vector<Fitted>& fits) {
  Table table({{"folder", Align::kLeft},
               {"method", Align::kLeft},
               {"asked"},
               {"bytes"},
               {"of source"},
               {"bits"},
               {"check", Align::kLeft}});
  for (const Fitted& fit : fits) {
    const Plan& plan = fit.plan();
    const double share =
        100.0 * static_cast<double>(plan.total_bytes) / static_cast<double>(checkpoint.bytes());
    table.add({fit.folder.string(), std::string(method_name(plan.method)),
               std::to_string(plan.budget_bytes), std::to_string(plan.total_bytes),
               fmt::format("{:.1f} %", share), fmt::format("{:.3f}", plan.bits_per_weight),
               fit.whole() ? "verified" : fit.result.report.problems.front()});
  }
  return table.render();
}

Json fits_json(const std::vector<Fitted>& fits) {
  Json document = Json::array();
  for (const Fitted& fit : fits) {
    const Plan& plan = fit.plan();
    document.push_back({{"out", fit.folder.string()},
                        {"method", method_name(plan.method)},
                        {"budget_bytes", plan.budget_bytes},
                        {"total_bytes", plan.total_bytes},
                        {"bits_per_weight", plan.bits_per_weight},
                        {"objective", plan.objective},
                        {"lower_bound", plan.lower_bound},
                        {"verified", fit.whole()},
                        {"problems", fit.result.report.problems}});
  }
  return document;
}

// What the folders are worth, on a text that the model has not seen.
struct Evaluated {
  TextArguments text;
  RowOptions rows;
  Comparison comparison;
  std::vector<std::string> labels;
};

std::optional<Evaluated> evaluate(const Common& common, const Checkpoint& checkpoint, Study& study,
                                  const std::vector<Fitted>& fits) {
  Evaluated evaluated;
  const fs::path text = checkpoint.folder / "heldout.txt";
  std::error_code ignored;
  if (!fs::is_regular_file(text, ignored)) {
    note(common, fmt::format("{} is not there: nothing is evaluated (ram compare does it, on any "
                             "text)",
                             text.string()));
    return std::nullopt;
  }
  evaluated.text.text = text.string();
  evaluated.text.length = kRowLength;
  evaluated.text.rows = std::to_string(kRows);
  evaluated.rows = row_options(common, evaluated.text);
  std::vector<std::string> names = {checkpoint.folder.string()};
  evaluated.labels = {checkpoint.name};
  for (const Fitted& fit : fits) {
    names.push_back(fit.folder.string());
    evaluated.labels.push_back(fit.label);
  }
  ProgressLine line(common);
  evaluated.comparison = compare_models(names, text, evaluated.rows, common.seed,
                                        engine_options(common, "f32"), study, line.function());
  return evaluated;
}

// The model's own questions.
std::optional<TaskRun> ask(const Common& common, const Checkpoint& checkpoint, Study& study,
                           const std::vector<Fitted>& fits) {
  const fs::path questions = checkpoint.folder / "questions.jsonl";
  std::error_code ignored;
  if (!fs::is_regular_file(questions, ignored)) {
    note(common, fmt::format("{} is not there: nothing is asked (ram tasks does it, with any "
                             "questions)",
                             questions.string()));
    return std::nullopt;
  }
  std::vector<std::string> names = {checkpoint.folder.string()};
  for (const Fitted& fit : fits) names.push_back(fit.folder.string());
  ProgressLine line(common);
  return run_tasks(names, {load_task("choice", questions, {})}, common.seed,
                   engine_options(common, "f32"), study, line.function());
}

// Reads all of it out of the study again: what the page says is what is kept.
fs::path write_report(const Common& common, const Checkpoint& checkpoint, Study& study,
                      const fs::path& folder) {
  fs::path path = folder / "report.html";
  write_output(common, path.string(),
               make_report(study, {.model = checkpoint.name,
                                   .study = common.place.typed,
                                   .seed = common.seed,
                                   .threads = threads(common)}));
  return path;
}

int demo(const Common& common, const Options& options) {
  threads(common);
  const Checkpoint checkpoint = Checkpoint::open(find_demo_model(common, options));
  PlanRequest request;
  request.dtype = checkpoint.default_dtype();
  const fs::path folder(options.out);
  check_output_folder(checkpoint, request, folder / "fit", true);
  const PathArgument page = {.option = "--out",
                             .path = (folder / "report.html").string(),
                             .takes = Takes::kOutputFile,
                             .content = Content::kPage};
  if (fs::exists(folder)) check_outputs(common, {&page, 1});
  Study study = open_study(common, "demo");
  const Curves curves =
      measure_for(common, checkpoint, study, request.method, request.dtype, false);
  const int64_t least = min_safe_bytes(curves.input(checkpoint), request);
  std::error_code failed;
  fs::create_directories(folder, failed);
  if (failed) fail_errno(true, "cannot create", options.out, failed.value());

  const std::vector<Fitted> fits =
      fit_all(common, checkpoint, study, request, demo_budgets(checkpoint.bytes(), least), folder);
  keep_sweep(study, checkpoint, curves, request,
             sweep_plans(curves.input(checkpoint), request, kSweepPoints));
  const std::optional<Evaluated> evaluated = evaluate(common, checkpoint, study, fits);
  const std::optional<TaskRun> asked = ask(common, checkpoint, study, fits);
  std::vector<std::string> labels = {checkpoint.name};
  for (const Fitted& fit : fits) labels.push_back(fit.label);
  const fs::path report = write_report(common, checkpoint, study, folder);
  const bool ok =
      std::all_of(fits.begin(), fits.end(), [](const Fitted& fit) { return fit.whole(); });
  if (common.json) {
    Json document = {{"model", checkpoint.folder.string()},
                     {"source_bytes", checkpoint.bytes()},
                     {"min_safe_bytes", least},
                     {"fits", fits_json(fits)}};
    if (evaluated) {
      document["comparison"] =
          comparison_json(evaluated->rows, evaluated->comparison, evaluated->labels);
    }
    if (asked) document["questions"] = tasks_json(*asked, labels);
    document["report"] = report.string();
    print_document(common, document);
    return ok ? kDone : kCheckFailed;
  }
  std::string text =
      wrapped(fmt::format("{} ({}, {} of weights), fitted to three budgets; at the middle one the "
                          "default has the bytes of the published method:",
                          checkpoint.name, checkpoint.model_type, format_bytes(checkpoint.bytes())),
              80, 0) +
      "\n" + fits_table(checkpoint, fits);
  if (evaluated) {
    text += "\nWhat they are worth, on text that the model has not seen:\n\n" +
            text_line(evaluated->text, evaluated->comparison.text) + "\n" +
            comparison_table(evaluated->comparison, evaluated->labels) + "\n" +
            wrapped(noise_text(evaluated->comparison), 80, 0);
  }
  if (asked) text += "\nWhat they answer:\n\n" + task_text(*asked, 0, labels);
  const std::string middle = fits[fits.size() - kShares.size() / 2 - 1].folder.string();
  text += fmt::format(
      "\nnext:\n  ram generate {0} --prompt \"Question: \"\n"
      "  ram explain {0}\n"
      "  mlx_lm.generate --model {0} --prompt \"Hello\"\n"
      "\nall of it on one page: {1}\n",
      shell_word(middle), report.string());
  print_result(common, text);
  return ok ? kDone : kCheckFailed;
}

}  // namespace

Action setup_demo(Arguments app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("--model", options->model, "another model than the bundled one")
      .type_name("MODEL");
  app.add_option("-o,--out,--output", options->out, "where the folders go (default ./ram-demo)")
      .type_name("FOLDER")
      .takes(Takes::kOutputFolders);
  return [options, &common] { return demo(common, *options); };
}

}  // namespace ram::cli
