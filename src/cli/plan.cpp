// ram plan: a budget becomes one format per unit.
#include "ram/outputs.h"
#include "ram/study_place.h"

#include "calibration.h"
#include "commands.h"
#include "engine_options.h"
#include "model.h"
#include "planning.h"

namespace ram::cli {
namespace {

struct PlanArguments {
  std::string model;
  std::string output;
  PlanningArguments planning;
  CalibrationArguments calibration;
};

int plan_command(const Common& common, const PlanArguments& options) {
  const Planning planning = parse_planning(options.planning, true);
  threads(common);
  const CalibrationRequest calibration = calibration_request(common, options.calibration);
  const Checkpoint checkpoint = open_source(common, options.model);
  PlanRequest request = resolve(planning, checkpoint);
  const FitResources resources = fit_resources(common, needs_calibration(request));
  check_calibration(common, checkpoint, calibration, request, resources);
  announce_calibration(checkpoint, calibration, request);
  Study study = open_study(common, "plan " + request_options(request));
  const Curves curves = measure_for(common, checkpoint, study, request.method, request.dtype,
                                    options.planning.rehash);
  const PlanInput input = curves.input(checkpoint);
  if (needs_calibration(request)) {
    const Reporter reporter(common);
    Calibration(checkpoint, curves.stored.fingerprint, calibration, resources.engine, study,
                reporter.events())
        .complete(input, request);
  }
  const PlanResult result = make_plan(input, request);
  for (const std::string& text : result.notes) note(common, text);
  if (!result.plan) return refuse_budget(common, request, result.min_safe_bytes);
  const std::string text = render_plan(*result.plan);
  if (!options.output.empty()) write_output(common, options.output, text);
  if (options.output == "-") return kDone;
  if (common.json) {
    print_result(common, text);
  } else {
    print_result(common, plan_table(checkpoint, *result.plan) + "\n" +
                             plan_summary(*result.plan, uniform_beside(input, *result.plan)));
  }
  return kDone;
}

}  // namespace

Action setup_plan(Arguments app, const Common& common) {
  auto options = std::make_shared<PlanArguments>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  app.add_option("-o,--output", options->output, "where plan.json goes; - is stdout")
      .type_name("FILE")
      .writes(Content::kPlan);
  add_planning_options(app, options->planning, true);
  add_calibration_options(app, options->calibration);
  return [options, &common] { return plan_command(common, *options); };
}

}  // namespace ram::cli
