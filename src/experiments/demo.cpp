// The whole chain on one model, from fitting to the quality of the folders.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/experiments.h"

#include "scored.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

// Shares of the source's weights, in percent.
constexpr std::array kShares = {25, 32, 45};
constexpr size_t kMiddle = kShares.size() / 2;

// Rows of the held-out text: enough to distinguish the folders, and scored in seconds.
constexpr int64_t kRowLength = 512;
constexpr int64_t kRows = 48;
constexpr int kSweepPoints = 24;

// The folder of the program, found in the same way as the shell found it.
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

// The requested shares, raised if the smallest safe folder is larger, and kept distinct.
std::vector<int64_t> budgets_of(int64_t source_bytes, int64_t min_safe) {
  std::vector<int64_t> budgets;
  const int64_t step = std::max<int64_t>(0, source_bytes - min_safe) / 10;
  for (size_t i = 0; i < kShares.size(); ++i) {
    const int64_t share = source_bytes / 100 * kShares[i];
    budgets.push_back(std::max(share, min_safe + static_cast<int64_t>(i) * step));
  }
  return budgets;
}

// The default at all budgets. At the middle budget the published method runs first, and the default
// gets exactly the bytes that it took. A uniform format is built too.
void fit_all(const Checkpoint& checkpoint, Study& study, const DemoRequest& request,
             const PlanRequest& plan, const FitEvents& events, Demo& demo) {
  const auto fit_one = [&](const std::string& label, const PlanRequest& one, bool chooses) {
    DemoFolder fitted{.label = label, .folder = request.out / label, .result = {}};
    FitRequest asked{.plan = one,
                     .calibration = {},
                     .out = fitted.folder,
                     .force = true,
                     .resources = request.resources};
    if (chooses) asked = choose_steps(checkpoint, &study, asked, kUsualFitSeconds, false).request;
    fitted.result = fit(checkpoint, study, asked, events);
    RAM_CHECK(fitted.result.planned.plan.has_value());
    demo.folders.push_back(std::move(fitted));
  };
  const std::vector<int64_t> budgets = budgets_of(checkpoint.bytes(), demo.min_safe_bytes);
  PlanRequest published = plan;
  published.method = Method::kPublished;
  const Curves curves = measure_curves_for(checkpoint, study, published.method, plan.dtype, false,
                                           request.resources.threads, events.progress);
  published.budget_bytes =
      std::max(budgets[kMiddle], min_safe_bytes(curves.input(checkpoint), published));
  PlanRequest uniform = plan;
  uniform.method = Method::kUniform;
  uniform.uniform = AffineFormat{.bits = 4, .group_size = 64};
  fit_one("uniform-4-64", uniform, false);
  fit_one("published", published, false);
  const int64_t published_bytes = demo.folders.back().plan().total_bytes;
  demo.middle = demo.folders.size() + kMiddle;
  for (size_t i = 0; i < budgets.size(); ++i) {
    PlanRequest own = plan;
    own.budget_bytes = i == kMiddle ? published_bytes : budgets[i];
    fit_one(fmt::format("{}-percent", kShares[i]), own, true);
  }
}

bool is_there(const fs::path& file) {
  std::error_code ignored;
  return fs::is_regular_file(file, ignored);
}

void tell(const FitEvents& events, const std::string& text) {
  if (events.note) events.note(text);
}

}  // namespace

fs::path find_demo_model(const std::string& program) {
  const fs::path folder = program_folder(program);
  std::vector<fs::path> places;
  if (!folder.empty()) places.push_back(folder.parent_path() / "share/ram/demo");
  for (fs::path up = folder; up.has_relative_path(); up = up.parent_path()) {
    places.push_back(up / "models/demo");
  }
  places.emplace_back("models/demo");
  for (const fs::path& place : places) {
    if (is_there(place / "config.json")) return place;
  }
  fail(Code::kMissing,
       "the bundled model (models/demo) is not near {}: give its folder with --model or "
       "RAM_DEMO_MODEL",
       folder.empty() ? program : folder.string());
}

nlohmann::ordered_json demo_folders_json(const std::vector<DemoFolder>& folders) {
  nlohmann::ordered_json document = nlohmann::ordered_json::array();
  for (const DemoFolder& one : folders) {
    const Plan& plan = one.plan();
    document.push_back({{"out", one.folder.string()},
                        {"method", method_name(plan.method)},
                        {"budget_bytes", plan.budget_bytes},
                        {"total_bytes", plan.total_bytes},
                        {"bits_per_weight", plan.bits_per_weight},
                        {"objective", plan.objective},
                        {"lower_bound", plan.lower_bound},
                        {"verified", one.whole()},
                        {"problems", one.result.report.problems}});
  }
  return document;
}

Demo run_demo(const Checkpoint& checkpoint, Study& study, const DemoRequest& request,
              const FitEvents& events) {
  PlanRequest plan;
  plan.dtype = checkpoint.default_dtype();
  const Curves curves = measure_curves_for(checkpoint, study, plan.method, plan.dtype, false,
                                           request.resources.threads, events.progress);
  const PlanInput input = curves.input(checkpoint);
  Demo demo;
  demo.min_safe_bytes = min_safe_bytes(input, plan);
  create_folder(request.out);
  fit_all(checkpoint, study, request, plan, events, demo);
  keep_sweep(study, checkpoint, curves, plan, sweep_plans(input, plan, kSweepPoints));
  std::vector<std::string> names = {checkpoint.folder.string()};
  demo.labels = {checkpoint.name};
  for (const DemoFolder& one : demo.folders) {
    names.push_back(one.folder.string());
    demo.labels.push_back(one.label);
  }
  // The model was not trained on the text; the questions are made for it.
  demo.text = checkpoint.folder / "heldout.txt";
  demo.rows = {.length = kRowLength, .rows = kRows, .seed = static_cast<uint32_t>(request.seed)};
  if (is_there(demo.text)) {
    demo.comparison = compare_models(names, demo.text, demo.rows, request.seed,
                                     request.resources.engine, study, events.progress);
  } else {
    tell(events, fmt::format("{} does not exist: nothing is evaluated (use ram compare with any "
                             "text)",
                             demo.text.string()));
  }
  const fs::path questions = checkpoint.folder / "questions.jsonl";
  if (is_there(questions)) {
    demo.answers = run_tasks(names, {load_task("choice", questions, {})}, request.seed,
                             request.resources.engine, study, events.progress);
  } else {
    tell(events, fmt::format("{} does not exist: no questions are asked (use ram tasks with any "
                             "questions)",
                             questions.string()));
  }
  return demo;
}

}  // namespace ram
