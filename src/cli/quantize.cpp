// ram quantize: writes the folder of an existing plan, perhaps edited by hand.
#include <optional>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/fit_json.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/text.h"

#include "calibration.h"
#include "commands.h"
#include "engine_options.h"

namespace ram::cli {
namespace {

struct QuantizeArguments {
  std::string model;
  std::string plan;
  std::string out;
  std::string budget;
  bool force = false;
  bool rehash = false;
  std::string calibration_file;
};

int quantize(const Common& common, const QuantizeArguments& options) {
  threads(common);
  std::optional<Size> budget;
  if (!options.budget.empty()) budget = parse_size(options.budget);
  Plan edited = read_plan(options.plan);
  std::optional<CalibrationRequest> calibrated;
  if (edited.encoder != Encoder::kMlx) {
    calibrated = calibration_of(edited, options.calibration_file);
  }
  const Checkpoint checkpoint = open_source(common, options.model);
  if (edited.model_type != checkpoint.model_type) {
    fail(Code::kUsage, "{}: made for {} ({}), but {} is {}: plan this model with ram plan",
         options.plan, edited.model_name, edited.model_type, checkpoint.name,
         checkpoint.model_type);
  }
  if (budget && edited.request.uniform) {
    fail(Code::kUsage, "{}: a uniform plan has no budget; omit --budget {}", options.plan,
         options.budget);
  }
  if (budget) set_budget(edited, budget->resolve(checkpoint.bytes()));
  check_output_folder(checkpoint, edited.request, options.out, options.force);
  if (calibrated) {
    check_calibration(common, checkpoint, *calibrated, edited.request,
                      fit_resources(common, /*runs_model=*/true));
  }
  Study study = open_study(common, "quantize " + request_options(edited.request));
  const Curves curves =
      measure_for(common, checkpoint, study, edited.method, edited.dtype, options.rehash);
  Plan plan = complete_plan(curves.input(checkpoint), edited, plan_file(options.plan).string());
  Reporter reporter(common);
  std::optional<EncodedFolder> encoded;
  std::unique_ptr<EncodedStore> store;
  if (calibrated) {
    if (!options.force) check_existing_plan(checkpoint, plan, options.out, /*by_hand=*/true);
    encoded.emplace(options.out);
    check_encoded_space(plan, *encoded);
    Calibration calibration(checkpoint, curves.stored.fingerprint, *calibrated,
                            fit_resources(common, /*runs_model=*/true).engine, study,
                            reporter.events());
    if (!plan.request.calibration.ends_with(calibration.text().digest)) {
      fail(Code::kUsage,
           "{}: calibrated on '{}', but this text is '{} digest {}': name the same file with "
           "--calibration, or make the plan again",
           options.plan, plan.request.calibration, calibration.text().spec,
           calibration.text().digest);
    }
    store = calibration.compress(plan, *encoded);
    store->remove_others();
  }
  const BuildOutcome outcome = write_folder(checkpoint, plan, study, options.out, options.force,
                                            threads(common), reporter.events(), store.get());
  if (encoded) encoded->clear();
  reporter.clear();
  if (common.json) {
    Json document = plan_json(plan);
    document["out"] = options.out;
    document["already_there"] = outcome == BuildOutcome::kAlreadyThere;
    print_document(common, document);
  } else {
    print_result(common,
                 plan_table(checkpoint, plan) + "\n" +
                     plan_summary(plan, uniform_beside(curves.input(checkpoint), plan)) +
                     fmt::format("{:<18}{}\n", "folder", outcome_text(outcome, options.out)) +
                     tokenizer_line(checkpoint) +
                     fmt::format("\nnext:\n  ram verify {} --source {}\n", shell_word(options.out),
                                 shell_word(options.model)));
  }
  return kDone;
}

}  // namespace

Action setup_quantize(Arguments app, const Common& common) {
  auto options = std::make_shared<QuantizeArguments>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  app.add_option("--plan", options->plan, "plan.json, or a folder with one")
      .type_name("FILE")
      .takes(Takes::kPlan)
      .required();
  app.add_option("-o,--output", options->out, "the folder to write")
      .type_name("OUT")
      .takes(Takes::kOutputFolder)
      .required();
  app.add_option("--budget", options->budget,
                 "another budget than the plan's, for a plan edited to larger formats")
      .type_name("SIZE");
  app.add_flag("--force", options->force, "replace an existing OUT as a whole, at the end");
  app.add_flag("--rehash", options->rehash, "read every tensor again");
  app.add_option("--calibration", options->calibration_file,
                 "the text of a plan that was calibrated on a file")
      .type_name("FILE");
  return [options, &common] { return quantize(common, *options); };
}

}  // namespace ram::cli
