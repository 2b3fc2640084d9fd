// ram sweep: the whole curve of predicted loss against size, with its knee.
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/experiments.h"
#include "ram/json_text.h"
#include "ram/size.h"
#include "ram/study_place.h"
#include "ram/table.h"
#include "ram/tokenizer.h"

#include "calibration.h"
#include "commands.h"
#include "comparison.h"
#include "engine_options.h"
#include "evaluation.h"
#include "model.h"
#include "planning.h"

namespace ram::cli {
namespace {

constexpr int kMostPoints = 1000;
constexpr int kMostSizes = 100;

struct SweepArguments {
  std::string model;
  int points = 24;
  PlanningArguments planning;
  CalibrationArguments calibration;
  int measured = 0;  ///< number of sizes; 0: nothing is measured
  std::string out = "./ram-sweep";
  TextArguments text;
};

void check_measured(const SweepArguments& options) {
  if (options.measured == 0 && options.text.text.empty()) return;
  if (options.measured < 2 || options.measured > kMostSizes) {
    fail(Code::kUsage, "--measure {}: use a number from 2 to {}", options.measured, kMostSizes);
  }
  if (options.text.text.empty()) {
    fail(Code::kUsage, "--measure {}: needs a text to score, --text FILE", options.measured);
  }
}

std::string sweep_table(const Sweep& sweep) {
  Table table({{"bytes"},
               {"bits/weight"},
               {"loss"},
               {"limit"},
               {"saved/MB"},
               {"loss, logarithmic", Align::kLeft},
               {"", Align::kLeft}});
  std::vector<double> losses;
  losses.reserve(sweep.points.size());
  for (const SweepPoint& point : sweep.points) losses.push_back(point.loss);
  const std::vector<std::string> bars = log_bars(losses);
  for (size_t i = 0; i < sweep.points.size(); ++i) {
    const SweepPoint& point = sweep.points[i];
    table.add({std::to_string(point.total_bytes), fmt::format("{:.3f}", point.bits_per_weight),
               fmt::format("{:.5g}", point.loss),
               point.limit ? fmt::format("{:.3g}", *point.limit) : "",
               i > 0 ? fmt::format("{:.3g}", point.loss_saved_per_mb) : "", bars[i],
               i == static_cast<size_t>(sweep.knee) ? "<- knee" : ""});
  }
  return table.render();
}

std::string limit_text(const Sweep& sweep) {
  if (!sweep.points.front().limit) return "";
  return "The limit is the least loss of any code with independent errors at that size, if weights "
         "are\nGaussian; error feedback can be below it.\n";
}

std::string measured_text(const TextArguments& text, const MeasuredSweep& measured) {
  const MeasuredSweepRecord& found = measured.record;
  Table table({{"folder", Align::kLeft},
               {"size"},
               {"bits"},
               {"loss"},
               {"KL"},
               {"KL by loss"},
               {"mean"},
               {"mean by fit"},
               {"median"}});
  for (const MeasuredSweepRecord::Point& point : found.points) {
    const double loss = point.loss.value_or(0);
    const auto predicted = [&](const std::string& cell) { return point.loss ? cell : ""; };
    table.add({point.folder, format_bytes(point.bytes), fmt::format("{:.2f}", point.bits),
               predicted(fmt::format("{:.3g}", loss)), fmt::format("{:.3g}", point.kl),
               predicted(fmt::format("{:.3g}", found.kl_per_loss * loss)), four_digits(point.mean),
               predicted(four_digits(found.a + found.b * std::log1p(loss))),
               four_digits(point.median)});
  }
  return text_line(text, measured.scored.comparison.text) + "\n" + table.render() +
         fmt::format(
             "\nMean perplexity = {:.5g} + {:.4g} ln(1 + loss): residuals {:.2g} (root mean "
             "square).\n"
             "KL = {:.3g} x loss: within a factor of {:.2f} (one standard deviation).\n"
             "The first step above the smallest size saves {:.3g} KL per MB, the average one "
             "{:.3g}.\n",
             found.a, found.b, found.rms, found.kl_per_loss, std::exp(found.kl_rms_log),
             found.first_step, found.average);
}

int sweep_command(const Common& common, const SweepArguments& options) {
  const Planning planning = parse_planning(options.planning, false);
  if (options.points < 2 || options.points > kMostPoints) {
    fail(Code::kUsage, "--points {}: use a number from 2 to {}", options.points, kMostPoints);
  }
  threads(common);
  const CalibrationRequest calibration = calibration_request(common, options.calibration);
  check_measured(options);
  if (options.measured > 0) row_options(common, options.text);  // refuses bad options at once
  const Checkpoint checkpoint = open_source(common, options.model);
  PlanRequest request = resolve(planning, checkpoint);
  const FitResources resources = fit_resources(common, needs_calibration(request));
  check_calibration(common, checkpoint, calibration, request, resources);
  if (options.measured > 0) (void)Tokenizer::open(checkpoint.folder);  // needed to score the text
  if (needs_calibration(request) && options.measured > 0) {
    refuse_same_text("--calibration", options.calibration.text, options.text.text);
  }
  Study study = open_study(common, "sweep " + request_options(request));
  const Curves curves = measure_for(common, checkpoint, study, request.method, request.dtype,
                                    options.planning.rehash);
  if (request.method == Method::kMeasured) {
    const Reporter reporter(common);
    Calibration(checkpoint, curves.stored.fingerprint, calibration, resources.engine, study,
                reporter.events())
        .complete(curves.input(checkpoint), request);
  }
  const Sweep sweep = sweep_plans(curves.input(checkpoint), request, options.points);
  const SweepRecord record = keep_sweep(study, checkpoint, curves, request, sweep);
  std::optional<MeasuredSweep> measured;
  const RowOptions rows = options.measured > 0 ? row_options(common, options.text) : RowOptions();
  if (options.measured > 0) {
    const Reporter reporter(common);
    measured = measure_sweep(checkpoint, study, curves,
                             {.plan = request,
                              .sizes = options.measured,
                              .out = options.out,
                              .scoring = scoring_request(common, options.text, rows)},
                             reporter.events());
  }
  if (common.json) {
    Json shown = parse_json(json_text(record.json()), "the sweep");
    if (measured) {
      shown["measured"] = measured->record.json();
      shown["measured"]["comparison"] =
          comparison_json(rows, measured->scored.comparison, measured->scored.labels);
    }
    print_document(common, shown);
  } else {
    print_result(common, sweep_table(sweep) +
                             "\nThe knee is the size beyond which a further byte buys less than "
                             "the average byte of this range.\n" +
                             limit_text(sweep) +
                             (measured ? "\n" + measured_text(options.text, *measured) : ""));
  }
  return kDone;
}

}  // namespace

Action setup_sweep(Arguments app, const Common& common) {
  auto options = std::make_shared<SweepArguments>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  app.add_option("--points", options->points, "how many sizes (default 24)").type_name("N");
  add_planning_options(app, options->planning, false);
  add_calibration_options(app, options->calibration);
  app.add_option("--measure", options->measured,
                 "also build and score folders of N sizes, with --text")
      .type_name("N");
  app.add_option("-o,--output", options->out, "where these folders go (default ./ram-sweep)")
      .type_name("FOLDER")
      .takes(Takes::kOutputFolders);
  add_text_options(app, options->text, /*required=*/false);
  return [options, &common] { return sweep_command(common, *options); };
}

}  // namespace ram::cli
