// ram gptq: what calibration buys, and what the plan. Uniform formats with error feedback, and one
// plan with plain rounding and with feedback: only the last pair has the same bytes and the same
// formats, so only it says what feedback is worth.
#include <algorithm>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/size.h"

#include "calibration.h"
#include "commands.h"
#include "comparison.h"
#include "engine_options.h"
#include "fitting.h"

namespace ram::cli {

namespace fs = std::filesystem;

namespace {

struct Options {
  std::string model;
  std::string out = "./ram-gptq";
  std::string real_text;
  TextArguments text;
  CalibrationArguments calibration;
};

struct Made {
  std::string label;
  fs::path folder;
  int64_t bytes = 0;
};

class Experiment {
 public:
  Experiment(const Common& common, const Options& options)
      : common_(common),
        options_(options),
        checkpoint_(Checkpoint::open(options.model)),
        study_(open_study(common, "gptq")),
        dtype_(checkpoint_.default_dtype()),
        curves_(measure_for(common, checkpoint_, study_, Method::kMeasured, dtype_, false)),
        own_(common, checkpoint_, curves_.stored.fingerprint, options.calibration, study_) {
    if (options.real_text.empty()) return;
    CalibrationArguments real = options.calibration;
    real.text = options.real_text;
    real_.emplace(common, checkpoint_, curves_.stored.fingerprint, real, study_);
  }

  std::vector<Made> run() {
    int64_t middle = 0;
    for (const int group : {128, 64, 32}) {
      PlanRequest request;
      request.uniform = AffineFormat{.bits = 4, .group_size = group};
      request.method = Method::kUniform;
      request.dtype = dtype_;
      const std::string name = fmt::format("4-{}", group);
      make(name, request, nullptr);
      if (group == 64) middle = made_.back().bytes;
      make(name + "-own", request, &own_);
      if (real_) make(name + "-real", request, &*real_);
    }
    // The plan is made once, with coefficients of the own text, at the bytes of uniform 4:64.
    PlanRequest request;
    request.budget_bytes = middle;
    request.method = Method::kMeasured;
    request.dtype = dtype_;
    own_.complete(curves_.input(checkpoint_), request);
    const PlanResult planned = make_plan(curves_.input(checkpoint_), request);
    if (!planned.plan) return made_;
    write("plan", *planned.plan, nullptr);
    write("plan-own", *planned.plan, &own_);
    if (real_) write("plan-real", *planned.plan, &*real_);
    return made_;
  }

 private:
  void make(const std::string& name, const PlanRequest& request, Calibration* calibration) {
    const PlanResult planned = make_plan(curves_.input(checkpoint_), request);
    RAM_CHECK(planned.plan.has_value());
    write(name, *planned.plan, calibration);
  }

  /// The same formats whatever the encoder: only its name and text stand in plan.json besides.
  void write(const std::string& name, Plan plan, Calibration* calibration) {
    const fs::path out = fs::path(options_.out) / name;
    std::unique_ptr<EncodedStore> store;
    if (calibration != nullptr) {
      plan.request.encoder = Encoder::kFeedback;
      plan.request.calibration = calibration->described(plan.request.encoder);
      // Its plan.json says more; the budget makes room for that.
      constexpr int64_t kRoom = 4096;
      if (plan.request.budget_bytes) {
        *plan.request.budget_bytes += kRoom;
        plan.budget_bytes += kRoom;
      }
      plan = complete_plan(curves_.input(checkpoint_), plan);
      store = calibration->compress(plan, out);
    }
    write_folder(common_, checkpoint_, plan, study_, out, true, store.get());
    if (store) store->remove();
    made_.push_back({.label = name, .folder = out, .bytes = plan.total_bytes});
  }

  const Common& common_;
  const Options& options_;
  Checkpoint checkpoint_;
  Study study_;
  DType dtype_;
  Curves curves_;
  Calibration own_;
  std::optional<Calibration> real_;
  std::vector<Made> made_;
};

int gptq(const Common& common, const Options& options) {
  threads(common);
  check_calibration(options.calibration);
  if (!options.real_text.empty()) {
    CalibrationArguments real = options.calibration;
    real.text = options.real_text;
    check_calibration(real);
  }
  const RowOptions rows = row_options(common, options.text);
  std::error_code failed;
  fs::create_directories(options.out, failed);
  if (failed) fail_errno(true, "cannot create", options.out, failed.value());
  std::vector<Made> made;
  {
    Experiment experiment(common, options);
    made = experiment.run();
  }
  std::vector<std::string> models = {options.model};
  std::vector<std::string> labels = {Checkpoint::open(options.model).name};
  for (const Made& one : made) {
    models.push_back(one.folder.string());
    labels.push_back(one.label);
  }
  Study study = open_study(common, "gptq compare");
  refuse_overlap(models, options.text.text, study);
  Comparison comparison;
  {
    ProgressLine line(common);
    comparison = compare_models(models, options.text.text, rows, common.seed,
                                engine_options(common, "f32"), study, line.function());
  }
  if (common.json) {
    print_result(common, comparison_json(rows, comparison, labels).dump(2) + "\n");
    return kDone;
  }
  print_result(
      common,
      text_line(options.text, comparison.text) + "\n" + comparison_table(comparison, labels) +
          "\n4-G is uniform 4 bits in groups of G; own and real are error feedback on that text.\n"
          "plan and plan-own have the same formats: they differ by feedback alone. The others "
          "differ "
          "from\nthem in bytes, in formats, or in both.\n");
  return kDone;
}

}  // namespace

Action setup_gptq(Arguments app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  app.add_option("-o,--output", options->out, "where the folders go (default ./ram-gptq)")
      .type_name("FOLDER");
  app.add_option("--real", options->real_text, "real text to calibrate on beside the own one")
      .type_name("FILE");
  add_text_options(app, options->text);
  add_calibration_options(app, options->calibration);
  return [options, &common] { return gptq(common, *options); };
}

}  // namespace ram::cli
