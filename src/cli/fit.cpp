// ram fit: the main job, from a model and a budget to a verified folder.
#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/fit_json.h"
#include "ram/machine.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/text.h"

#include "calibration.h"
#include "commands.h"
#include "engine_options.h"
#include "forecast.h"
#include "planning.h"

namespace ram::cli {
namespace {

struct FitArguments {
  std::string model;
  std::string out;
  bool force = false;
  bool dry_run = false;
  std::string effort = "fast";
  PlanningArguments planning;
  CalibrationArguments calibration;
};

std::string fit_text(const Checkpoint& checkpoint, const FitResult& result,
                     const std::string& source, const std::string& out) {
  const FitSeconds& seconds = result.seconds;
  std::string text = plan_table(checkpoint, *result.planned.plan) + "\n";
  text += plan_summary(*result.planned.plan, result.beside);
  if (result.calibration) {
    text += calibration_summary(*result.calibration, *result.planned.plan);
  }
  const std::string running = result.calibration ? fmt::format("calibrate {}, compress {}, ",
                                                               format_seconds(seconds.calibrate),
                                                               format_seconds(seconds.compress))
                                                 : "";
  text += fmt::format("{:<18}analyze {}, {}plan {}, write {}, verify {}; peak memory {}\n", "took",
                      format_seconds(seconds.analyze), running, format_seconds(seconds.plan),
                      format_seconds(seconds.write), format_seconds(seconds.verify),
                      format_bytes(peak_resident_bytes()));
  text += fmt::format("{:<18}{}\n", "folder", outcome_text(result.outcome, out));
  text += tokenizer_line(checkpoint);
  text +=
      fmt::format("{:<18}every file, size and unit checked against plan and source\n", "verified");
  const bool better = !result.calibration && !result.planned.plan->request.uniform &&
                      !nothing_quantized(*result.planned.plan);
  if (better) {
    text += "\nFor less loss at the same size, in more time: --effort best runs the model.\n";
  }
  text += "\nnext:\n";
  if (checkpoint.has_tokenizer()) {
    text += fmt::format("  mlx_lm.generate --model {} --prompt \"Hello\"\n", shell_word(out));
    text +=
        fmt::format("  ram compare {} {} --text FILE    # what it loses: KL, perplexity, top-1\n",
                    shell_word(source), shell_word(out));
  }
  text += fmt::format("  ram explain {}\n", shell_word(out));
  return text;
}

// Source bytes above which even the weights alone take long enough to announce the time.
constexpr int64_t kLongWork = int64_t{1} << 30;

void note_probe_time(const Common& common, const FitForecast& forecast) {
  if (forecast.probe_least_seconds <= 0) return;
  note(common, fmt::format("measuring coefficients takes at least about {}, on two rows of text: "
                           "more than --probe-time; shorter rows (--calibration-length) take less",
                           format_seconds(forecast.probe_least_seconds)));
}

void say_forecast(const Common& common, const FitForecast& forecast) {
  if (!common.quiet) say(common, forecast_text(forecast));
  note_probe_time(common, forecast);
}

// --dry-run: reports what the fit would take, and writes nothing, no study either.
int foretell(const Common& common, const Checkpoint& checkpoint, const FitRequest& request) {
  std::optional<Study> study = open_study_if_usable(common);
  const FitForecast forecast = forecast_fit(checkpoint, study ? &*study : nullptr, request);
  if (common.json) {
    Json document = {{"dry_run", true}, {"out", request.out.string()}};
    document.update(forecast_json(forecast));
    print_document(common, document);
  } else {
    print_result(common, forecast_text(forecast));
  }
  note_probe_time(common, forecast);
  return kDone;
}

int fit(const Common& common, const FitArguments& options) {
  Planning planning = parse_planning(options.planning, true);
  if (options.effort != "fast" && options.effort != "best") {
    fail(Code::kUsage, "--effort {}: use fast or best", options.effort);
  }
  if (options.effort == "best") {
    // A method requested by name is kept, and a uniform format is a separate method.
    const bool named = !options.planning.method.empty() || planning.request.uniform.has_value();
    if (!named) planning.request.method = Method::kMeasured;
    if (options.planning.encoder.empty()) planning.request.encoder = Encoder::kFeedback;
  }
  threads(common);
  const CalibrationRequest calibration = calibration_request(common, options.calibration);
  const Checkpoint checkpoint = open_source(common, options.model);
  FitRequest request = {.plan = resolve(planning, checkpoint),
                        .calibration = calibration,
                        .out = options.out,
                        .force = options.force,
                        .rehash = options.planning.rehash,
                        .resources = {}};
  const bool runs_model = needs_calibration(request.plan);
  request.resources = fit_resources(common, runs_model);
  if (runs_model && calibration.file()) {
    check_text_size(common, "--calibration", calibration.text);
  }
  announce_calibration(checkpoint, calibration, request.plan);
  check_output_folder(checkpoint, request.plan, options.out, options.force);
  check_calibration(common, checkpoint, calibration, request.plan, request.resources);
  if (options.dry_run) return foretell(common, checkpoint, request);
  Study study = open_study(common, "fit " + request_options(request.plan));
  std::optional<FitForecast> forecast;
  if (runs_model || checkpoint.bytes() > kLongWork) {
    forecast = forecast_fit(checkpoint, &study, request);
    say_forecast(common, *forecast);
  }
  Common staged = common;
  staged.stages = std::make_shared<Stages>();
  staged.stages->names = fit_stages(request.plan, calibration);
  const FitResult result = [&] {
    const Reporter reporter(staged);
    return ram::fit(checkpoint, study, request, reporter.events());
  }();
  if (!result.planned.plan) {
    return refuse_budget(common, request.plan, result.planned.min_safe_bytes);
  }
  const std::vector<std::string>& problems = result.report.problems;
  if (common.json) {
    Json document = fit_json(checkpoint, result, options.out);
    if (forecast) document["forecast"] = forecast_json(*forecast);
    print_document(common, document);
  } else if (problems.empty()) {
    print_result(common, fit_text(checkpoint, result, options.model, options.out));
  }
  if (problems.empty()) return kDone;
  say(common,
      fmt::format("ram: error: {} did not pass verification: {} ({} problem{})\n", options.out,
                  problems.front(), problems.size(), problems.size() == 1 ? "" : "s"));
  return kCheckFailed;
}

}  // namespace

Action setup_fit(Arguments app, const Common& common) {
  auto options = std::make_shared<FitArguments>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  app.add_option("-o,--output", options->out, "the folder to write")
      .type_name("OUT")
      .takes(Takes::kOutputFolder)
      .required();
  app.add_flag("--force", options->force, "replace an existing OUT as a whole, at the end");
  app.add_flag("--dry-run", options->dry_run,
               "say what every stage takes in time, memory and disk, and write nothing");
  app.add_option("--effort", options->effort,
                 "fast: weights only (default); best: --method measured --encoder feedback")
      .type_name("fast|best");
  add_planning_options(app, options->planning, true);
  add_calibration_options(app, options->calibration);
  return [options, &common] { return fit(common, *options); };
}

}  // namespace ram::cli
