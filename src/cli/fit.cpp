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
  std::string effort;
  std::string time;
  std::string as;
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
  const PlanRequest& request = result.planned.plan->request;
  const bool better = request.encoder != Encoder::kFeedback && !request.uniform &&
                      !nothing_quantized(*result.planned.plan);
  if (better) text += "\nFor less loss at the same size, in more time: --effort best.\n";
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

std::string left_out_text(const std::vector<LeftOut>& left_out) {
  std::string text;
  for (const LeftOut& one : left_out) {
    text += fmt::format("{}{} ({})", text.empty() ? "" : ", ", one.step, one.why);
  }
  return text;
}

Json left_out_json(const std::vector<LeftOut>& left_out) {
  Json list = Json::array();
  for (const LeftOut& one : left_out) list.push_back({{"step", one.step}, {"why", one.why}});
  return list;
}

bool names_steps(const FitArguments& options) {
  return !options.effort.empty() || !options.planning.method.empty() ||
         !options.planning.encoder.empty() || !options.planning.uniform.empty();
}

bool chooses_steps(const FitArguments& options) {
  return options.as.empty() && !names_steps(options);
}

// --as: the request of another folder's plan, for this model.
FitRequest request_of_plan(const Common& common, const FitArguments& options) {
  PlanningArguments planning = options.planning;
  planning.rehash = false;
  CalibrationArguments calibration = options.calibration;
  const bool named = calibration.text != CalibrationArguments().text;
  const std::string file = named ? calibration.text : "";
  calibration.text = CalibrationArguments().text;
  if (planning != PlanningArguments() || calibration != CalibrationArguments() ||
      !options.effort.empty() || !options.time.empty()) {
    fail(Code::kUsage,
         "--as {}: the size and all options are the plan's: omit others, except for --calibration "
         "FILE, --threads and --memory",
         options.as);
  }
  const Plan plan = read_plan(options.as);
  FitRequest request{.plan = plan.request, .calibration = {}, .out = {}, .resources = {}};
  request.plan.dtype = plan.dtype;
  request.plan.method = plan.method;
  request.plan.encoder = plan.encoder;
  // Coefficients that were not trusted are measured and refused again.
  const auto origin = parse_calibration(plan.request.calibration);
  if (origin && plan.encoder == Encoder::kMlx) request.plan.method = Method::kMeasured;
  if (needs_calibration(request.plan)) {
    request.calibration = calibration_of(plan, file);
    request.calibration.coefficients = plan.request.coefficient_source;
    request.calibration.probe_seconds = plan.request.probe_seconds;
    if (request.calibration.file()) check_text_size(common, "--calibration", file);
  }
  request.plan.calibration.clear();
  request.plan.coefficients.clear();
  request.plan.gains = {};
  return request;
}

FitRequest typed_request(const Common& common, const FitArguments& options,
                         const Checkpoint& checkpoint, Planning planning) {
  if (options.effort == "best") {
    // A method requested by name is kept, and a uniform format is a separate method.
    const bool named = !options.planning.method.empty() || planning.request.uniform.has_value();
    if (!named) planning.request.method = Method::kMeasured;
    if (options.planning.encoder.empty()) planning.request.encoder = Encoder::kFeedback;
  }
  const CalibrationRequest calibration = calibration_request(common, options.calibration);
  return {.plan = resolve(planning, checkpoint),
          .calibration = calibration,
          .out = {},
          .resources = {}};
}

/// What will be done, and what is known of it.
struct Prepared {
  FitRequest request;
  std::optional<FitForecast> forecast;
  std::vector<LeftOut> left_out;
};

Prepared prepare(const Common& common, const FitArguments& options, const Checkpoint& checkpoint,
                 Planning planning, double seconds) {
  Prepared prepared{.request = options.as.empty()
                                   ? typed_request(common, options, checkpoint, std::move(planning))
                                   : request_of_plan(common, options),
                    .forecast = {},
                    .left_out = {}};
  FitRequest& request = prepared.request;
  request.out = options.out;
  request.force = options.force;
  request.rehash = options.planning.rehash;
  const bool chooses = chooses_steps(options);
  request.resources = fit_resources(common, chooses || needs_calibration(request.plan));
  if (chooses) {
    check_out_folder(checkpoint, options.out, options.force);
    std::optional<Study> known = open_study_if_usable(common);
    ChosenSteps chosen = choose_steps(checkpoint, known ? &*known : nullptr, request, seconds,
                                      options.calibration.rows.has_value());
    request = std::move(chosen.request);
    prepared.forecast = std::move(chosen.forecast);
    prepared.left_out = std::move(chosen.left_out);
  }
  const CalibrationRequest& calibration = request.calibration;
  if (needs_calibration(request.plan) && calibration.file()) {
    check_text_size(common, "--calibration", calibration.text);
  }
  announce_calibration(checkpoint, calibration, request.plan);
  check_output_folder(checkpoint, request.plan, options.out, options.force);
  check_calibration(common, checkpoint, calibration, request.plan, request.resources);
  return prepared;
}

// --dry-run: reports what the fit would take, and writes nothing, no study either.
int print_forecast(const Common& common, const Checkpoint& checkpoint, const Prepared& prepared) {
  FitForecast forecast;
  if (prepared.forecast) {
    forecast = *prepared.forecast;
  } else {
    std::optional<Study> study = open_study_if_usable(common);
    forecast = forecast_fit(checkpoint, study ? &*study : nullptr, prepared.request);
  }
  if (common.json) {
    Json document = {{"dry_run", true}, {"out", prepared.request.out.string()}};
    document.update(forecast_json(forecast));
    document["left_out"] = left_out_json(prepared.left_out);
    print_document(common, document);
  } else {
    print_result(common, forecast_text(forecast));
  }
  note_probe_time(common, forecast);
  if (!prepared.left_out.empty()) note(common, "left out: " + left_out_text(prepared.left_out));
  return kDone;
}

int fit(const Common& common, const FitArguments& options) {
  Planning planning = options.as.empty() ? parse_planning(options.planning, true) : Planning();
  if (!options.effort.empty() && options.effort != "fast" && options.effort != "best") {
    fail(Code::kUsage, "--effort {}: use fast or best", options.effort);
  }
  const double asked_seconds = parse_time("--time", options.time);
  if (asked_seconds > 0 && names_steps(options)) {
    fail(Code::kUsage,
         "--time {}: chooses the method and the encoder: omit --effort, --method, --encoder and "
         "--uniform, or --time",
         options.time);
  }
  threads(common);
  if (options.as.empty()) calibration_request(common, options.calibration);
  const Checkpoint checkpoint = open_source(common, options.model);
  Prepared prepared = prepare(common, options, checkpoint, std::move(planning),
                              asked_seconds > 0 ? asked_seconds : kUsualFitSeconds);
  if (options.dry_run) return print_forecast(common, checkpoint, prepared);
  const FitRequest& request = prepared.request;
  std::optional<FitForecast>& forecast = prepared.forecast;
  const std::vector<LeftOut>& left_out = prepared.left_out;
  Study study = open_study(common, "fit " + request_options(request.plan));
  if (needs_calibration(request.plan) || checkpoint.bytes() > kLongWork) {
    if (!forecast) forecast = forecast_fit(checkpoint, &study, request);
    say_forecast(common, *forecast);
  }
  if (!left_out.empty()) note(common, "left out: " + left_out_text(left_out));
  Common staged = common;
  staged.stages = std::make_shared<Stages>();
  staged.stages->names = fit_stages(request.plan, request.calibration);
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
    if (chooses_steps(options)) document["left_out"] = left_out_json(left_out);
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
  app.add_option("--time", options->time,
                 "choose the best steps that take no longer, by their forecasts (default 10min)")
      .type_name("TIME");
  app.add_option(
         "--effort", options->effort,
         "instead of --time. fast: weights only; best: --method measured --encoder feedback")
      .type_name("fast|best");
  app.add_option("--as", options->as, "size and all options of this plan.json")
      .type_name("FILE")
      .takes(Takes::kPlan);
  add_planning_options(app, options->planning, true);
  add_calibration_options(app, options->calibration);
  return [options, &common] { return fit(common, *options); };
}

}  // namespace ram::cli
