// ram gptq: what calibration buys, and what the plan. Uniform formats with error feedback, and one
// plan with plain rounding and with feedback: only the last pair has the same bytes and the same
// formats, so only it says what feedback is worth.
#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/size.h"
#include "ram/tokenizer.h"

#include "calibration.h"
#include "commands.h"
#include "comparison.h"
#include "engine_options.h"

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
  std::string formats;  // "4:64", or "plan"
  std::string text;     // that feedback saw: "own", "real"; empty: plain rounding
  fs::path folder;
  int64_t bytes = 0;
};

class Experiment {
 public:
  Experiment(const Common& common, const Options& options, const Checkpoint& checkpoint)
      : common_(common),
        options_(options),
        checkpoint_(checkpoint),
        study_(open_study(common, "gptq")),
        dtype_(checkpoint_.default_dtype()),
        curves_(measure_for(common, checkpoint_, study_, Method::kMeasured, dtype_, false)),
        engine_(fit_resources(common, /*runs_model=*/true).engine),
        reporter_(common),
        own_(checkpoint_, curves_.stored.fingerprint,
             calibration_request(common, options.calibration), engine_, study_,
             reporter_.events()) {
    if (options.real_text.empty()) return;
    CalibrationRequest real = calibration_request(common, options.calibration);
    real.text = options.real_text;
    real_.emplace(checkpoint_, curves_.stored.fingerprint, real, engine_, study_,
                  reporter_.events());
  }

  std::vector<Made> run() {
    int64_t middle = 0;
    for (const int group : {128, 64, 32}) {
      PlanRequest request;
      request.uniform = AffineFormat{.bits = 4, .group_size = group};
      request.method = Method::kUniform;
      request.dtype = dtype_;
      const PlanResult planned = make_plan(curves_.input(checkpoint_), request);
      RAM_CHECK(planned.plan.has_value());
      if (group == 64) middle = planned.plan->total_bytes;
      write_all(format_name(*request.uniform), *planned.plan);
    }
    // The plan is made once, with coefficients of the own text, at the bytes of uniform 4:64.
    PlanRequest request;
    request.budget_bytes = middle;
    request.method = Method::kMeasured;
    request.dtype = dtype_;
    own_.complete(curves_.input(checkpoint_), request);
    const PlanResult planned = make_plan(curves_.input(checkpoint_), request);
    if (!planned.plan) return made_;
    write_all("plan", *planned.plan);
    return made_;
  }

 private:
  void write_all(const std::string& formats, const Plan& plan) {
    write(formats, "", plan, nullptr);
    write(formats, "own", plan, &own_);
    if (real_) write(formats, "real", plan, &*real_);
  }

  /// The same formats whatever the encoder: plan.json differs in its name and text only.
  void write(const std::string& formats, const std::string& text, Plan plan,
             Calibration* calibration) {
    std::string name = formats + (text.empty() ? "" : "-" + text);
    std::replace(name.begin(), name.end(), ':', '-');
    const fs::path out = fs::path(options_.out) / name;
    std::optional<EncodedFolder> encoded;
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
      encoded.emplace(out);
      store = calibration->compress(plan, *encoded);
      store->remove_others();
    }
    write_folder(checkpoint_, plan, study_, out, true, threads(common_), reporter_.events(),
                 store.get());
    if (encoded) encoded->clear();
    made_.push_back({.label = name,
                     .formats = formats,
                     .text = text,
                     .folder = out,
                     .bytes = plan.total_bytes});
  }

  const Common& common_;
  const Options& options_;
  const Checkpoint& checkpoint_;
  Study study_;
  DType dtype_;
  Curves curves_;
  EngineOptions engine_;
  Reporter reporter_;
  Calibration own_;
  std::optional<Calibration> real_;
  std::vector<Made> made_;
};

/// What one folder's divergence is of another's, with its 95 % interval; of one row there is none.
struct Ratio {
  double value = 0;
  std::optional<Interval> interval;
};

/// @return nothing where the other does not diverge at all.
std::optional<Ratio> ratio_of(const Comparison& comparison, size_t model, size_t other) {
  for (const PairTest& test : comparison.pairs) {
    if (!test.kl_ratio || *test.kl_ratio <= 0) continue;
    const auto a = static_cast<size_t>(test.a);
    const auto b = static_cast<size_t>(test.b);
    const bool inverse = a == other + 1 && b == model + 1;
    if (!inverse && (a != model + 1 || b != other + 1)) continue;
    Ratio ratio{.value = inverse ? 1 / *test.kl_ratio : *test.kl_ratio, .interval = {}};
    if (comparison.text.rows.size() < 2) return ratio;
    const auto [low, high] = test.kl_ratio95;
    ratio.interval = inverse ? Interval{1 / high, 1 / low} : Interval{low, high};
    return ratio;
  }
  return {};
}

/// The folder with these formats and plain rounding.
size_t plain_of(const std::vector<Made>& made, const std::string& formats) {
  const auto at = std::find_if(made.begin(), made.end(), [&](const Made& one) {
    return one.formats == formats && one.text.empty();
  });
  return static_cast<size_t>(at - made.begin());
}

Json ratio_json(const std::optional<Ratio>& ratio) {
  if (!ratio) return nullptr;
  return {{"kl_ratio", ratio->value},
          {"ci95", ratio->interval ? interval_json(*ratio->interval) : Json(nullptr)}};
}

/// What the report draws: every folder, and what feedback leaves of the divergence of plain
/// rounding to the same formats.
Json experiment_json(const Comparison& comparison, const std::vector<Made>& made) {
  Json variants = Json::array();
  for (size_t i = 0; i < made.size(); ++i) {
    const PairedDifference& kl = comparison.models[i].against_reference.kl;
    const size_t plain = plain_of(made, made[i].formats);
    variants.push_back(
        {{"folder", made[i].label},
         {"formats", made[i].formats},
         {"calibration", made[i].text},
         {"total_bytes", made[i].bytes},
         {"kl_mean", kl.delta},
         {"kl_ci95", interval_json(kl.t95)},
         {"over_plain", i == plain ? Json() : ratio_json(ratio_of(comparison, i, plain))}});
  }
  return {{"variants", std::move(variants)}};
}

std::string experiment_text(const Comparison& comparison, const std::vector<Made>& made) {
  std::string text;
  for (size_t i = 0; i < made.size(); ++i) {
    if (made[i].text.empty()) continue;
    const auto ratio = ratio_of(comparison, i, plain_of(made, made[i].formats));
    if (!ratio) continue;
    text += fmt::format(
        "  {:<6} on {} text  {:.2f} ({})\n", made[i].formats, made[i].text, ratio->value,
        ratio->interval
            ? fmt::format("{:.2f} to {:.2f}", ratio->interval->low, ratio->interval->high)
            : "one row: no interval");
  }
  if (text.empty()) return text;
  return "\nError feedback leaves of plain rounding's divergence, with the same formats:\n" + text;
}

int gptq(const Common& common, const Options& options) {
  threads(common);
  calibration_request(common, options.calibration);
  if (!options.real_text.empty()) {
    CalibrationArguments real = options.calibration;
    real.text = options.real_text;
    calibration_request(common, real);
  }
  const RowOptions rows = row_options(common, options.text);
  refuse_same_text("--real", options.real_text, options.text.text);
  refuse_same_text("--calibration", options.calibration.text, options.text.text);
  std::error_code failed;
  fs::create_directories(options.out, failed);
  if (failed) fail_errno(true, "cannot create", options.out, failed.value());
  const Checkpoint checkpoint = Checkpoint::open(options.model);
  (void)Tokenizer::open(checkpoint.folder);  // which the text needs
  std::vector<Made> made;
  {
    Experiment experiment(common, options, checkpoint);
    made = experiment.run();
  }
  std::vector<std::string> models = {options.model};
  std::vector<std::string> labels = {checkpoint.name};
  for (const Made& one : made) {
    models.push_back(one.folder.string());
    labels.push_back(one.label);
  }
  Study study = open_study(common, "gptq compare");
  refuse_overlap(models, options.text.text, study, notes_only(common));
  Comparison comparison;
  {
    ProgressLine line(common);
    comparison = compare_models(models, options.text.text, rows, common.seed,
                                engine_options(common, "f32"), study, line.function());
  }
  // The comparison opened the model anew: it must be the one that the folders are made from.
  checkpoint.check_unchanged();
  Json experiment = experiment_json(comparison, made);
  study.put_document({.kind = "gptq",
                      .key = comparison.reference.model.digest,
                      .text = document_text(experiment)});
  if (common.json) {
    Json document = comparison_json(rows, comparison, labels);
    document.update(experiment);
    print_document(common, document);
    return kDone;
  }
  print_result(
      common,
      text_line(options.text, comparison.text) + "\n" + comparison_table(comparison, labels) +
          experiment_text(comparison, made) +
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
      .type_name("FOLDER")
      .takes(Takes::kOutputFolders);
  app.add_option("--real", options->real_text, "real text to calibrate on beside the own one")
      .type_name("FILE");
  add_text_options(app, options->text);
  add_calibration_options(app, options->calibration);
  return [options, &common] { return gptq(common, *options); };
}

}  // namespace ram::cli
