// ram demo: the whole chain on the bundled model, from fitting to the quality of the folders.
#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ram/experiments.h"
#include "ram/outputs.h"
#include "ram/report.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/table.h"
#include "ram/text.h"

#include "calibration.h"
#include "commands.h"
#include "comparison.h"
#include "engine_options.h"
#include "tasks.h"

namespace ram::cli {

namespace fs = std::filesystem;

namespace {

struct DemoArguments {
  std::string model;
  std::string out = "./ram-demo";
};

std::string fits_table(const Checkpoint& checkpoint, const std::vector<DemoFolder>& fits) {
  Table table({{"folder", Align::kLeft},
               {"method", Align::kLeft},
               {"asked"},
               {"bytes"},
               {"of source"},
               {"bits"},
               {"check", Align::kLeft}});
  for (const DemoFolder& fit : fits) {
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

// Reads everything back from the study, so that the page shows what is stored.
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

// --model, the environment, then near the program.
std::string model_of(const Common& common, const DemoArguments& options) {
  if (!options.model.empty()) return options.model;
  const char* const named = std::getenv("RAM_DEMO_MODEL");
  if (named != nullptr && *named != '\0') return named;
  return find_demo_model(common.program).string();
}

TextArguments text_of(const Demo& demo) {
  TextArguments text;
  text.text = demo.text.string();
  return text;
}

Json demo_json(const Checkpoint& checkpoint, const Demo& demo, const fs::path& report) {
  Json document = {{"model", checkpoint.folder.string()},
                   {"source_bytes", checkpoint.bytes()},
                   {"min_safe_bytes", demo.min_safe_bytes},
                   {"fits", demo_folders_json(demo.folders)}};
  if (demo.comparison) {
    document["comparison"] = comparison_json(demo.rows, *demo.comparison, demo.labels);
  }
  if (demo.answers) document["questions"] = tasks_json(*demo.answers, demo.labels);
  document["report"] = report.string();
  return document;
}

std::string demo_text(const Checkpoint& checkpoint, const Demo& demo, const fs::path& report) {
  std::string text =
      wrapped(fmt::format("{} ({}, {} of weights), fitted to three budgets; at the middle one the "
                          "default has the bytes of the published method:",
                          checkpoint.name, checkpoint.model_type, format_bytes(checkpoint.bytes())),
              kTextWidth, 0) +
      "\n" + fits_table(checkpoint, demo.folders);
  if (demo.comparison) {
    text += "\nQuality on text that the model was not trained on:\n\n" +
            text_line(text_of(demo), demo.comparison->text) + "\n" +
            comparison_table(*demo.comparison, demo.labels) + "\n" +
            wrapped(noise_text(*demo.comparison), kTextWidth, 0);
  }
  if (demo.answers)
    text += "\nAnswers to questions:\n\n" + task_text(*demo.answers, 0, demo.labels);
  return text + fmt::format(
                    "\nnext:\n  ram generate {0} --prompt \"Question: \"\n"
                    "  ram explain {0}\n"
                    "  mlx_lm.generate --model {0} --prompt \"Hello\"\n"
                    "\nall of it on one page: {1}\n",
                    shell_word(demo.folders[demo.middle].folder.string()), report.string());
}

int demo_command(const Common& common, const DemoArguments& options) {
  threads(common);
  const Checkpoint checkpoint = Checkpoint::open(model_of(common, options));
  PlanRequest plan;
  plan.dtype = checkpoint.default_dtype();
  const fs::path folder(options.out);
  check_output_folder(checkpoint, plan, folder / "fit", true);
  const PathArgument page = {.option = "--out",
                             .path = (folder / "report.html").string(),
                             .takes = Takes::kOutputFile,
                             .content = Content::kPage};
  if (fs::exists(folder)) check_outputs(common, {&page, 1});
  check_seed(common, "rows");
  Study study = open_study(common, "demo");
  const Demo demo = [&] {
    const Reporter reporter(common);
    return run_demo(checkpoint, study,
                    {.out = folder,
                     .seed = common.seed,
                     .resources = fit_resources(common, /*runs_model=*/true)},
                    reporter.events());
  }();
  const fs::path report = write_report(common, checkpoint, study, folder);
  if (common.json) {
    print_document(common, demo_json(checkpoint, demo, report));
  } else {
    print_result(common, demo_text(checkpoint, demo, report));
  }
  const bool ok = std::all_of(demo.folders.begin(), demo.folders.end(),
                              [](const DemoFolder& one) { return one.whole(); });
  return ok ? kDone : kCheckFailed;
}

}  // namespace

Action setup_demo(Arguments app, const Common& common) {
  auto options = std::make_shared<DemoArguments>();
  app.add_option("--model", options->model, "another model than the bundled one")
      .type_name("MODEL");
  app.add_option("-o,--out,--output", options->out, "where the folders go (default ./ram-demo)")
      .type_name("FOLDER")
      .takes(Takes::kOutputFolders);
  return [options, &common] { return demo_command(common, *options); };
}

}  // namespace ram::cli
