// ram sweep: the whole curve of predicted loss against size, with its knee.
#include "sweep.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/tokenizer.h"

#include "calibration.h"
#include "commands.h"
#include "measured_sweep.h"
#include "model.h"
#include "planning.h"
#include "table.h"

namespace ram::cli {
namespace {

constexpr int kMostPoints = 1000;

struct Options {
  std::string model;
  int points = 24;
  PlanningArguments planning;
  CalibrationArguments calibration;
  MeasuredSweepArguments measured;
};

Json sweep_json(const Checkpoint& checkpoint, const PlanRequest& request, const Sweep& sweep) {
  Json points = Json::array();
  for (const SweepPoint& point : sweep.points) {
    points.push_back({{"total_bytes", point.total_bytes},
                      {"bits_per_weight", point.bits_per_weight},
                      {"loss", point.loss},
                      {"lower_bound", point.lower_bound},
                      {"loss_saved_per_mb", point.loss_saved_per_mb}});
  }
  return {{"model", checkpoint.name},
          {"method", method_name(request.method)},
          {"points", std::move(points)},
          {"knee", sweep.knee},
          {"knee_total_bytes", sweep.points.at(static_cast<size_t>(sweep.knee)).total_bytes}};
}

// Loss falls by some factor per bit, so its bars show the logarithm: from the least loss that is
// not zero (one character) to the largest.
std::vector<std::string> log_bars(const Sweep& sweep) {
  constexpr size_t kBarWidth = 24;
  constexpr double kShortest = 1.0 / kBarWidth;
  double least = sweep.points.front().loss;
  const double largest = least;
  for (const SweepPoint& point : sweep.points) {
    if (point.loss > 0) least = std::min(least, point.loss);
  }
  std::vector<std::string> bars;
  for (const SweepPoint& point : sweep.points) {
    if (!(point.loss > 0)) {
      bars.emplace_back();
      continue;
    }
    const double range = std::log(largest / least);
    const double height = range > 0 ? std::log(point.loss / least) / range : 1;
    bars.push_back(bar(kShortest + (1 - kShortest) * height, 1, kBarWidth));
  }
  return bars;
}

std::string sweep_table(const Sweep& sweep) {
  Table table({{"bytes"},
               {"bits/weight"},
               {"loss"},
               {"saved/MB"},
               {"loss, logarithmic", Align::kLeft},
               {"", Align::kLeft}});
  const std::vector<std::string> bars = log_bars(sweep);
  for (size_t i = 0; i < sweep.points.size(); ++i) {
    const SweepPoint& point = sweep.points[i];
    table.add({std::to_string(point.total_bytes), fmt::format("{:.3f}", point.bits_per_weight),
               fmt::format("{:.5g}", point.loss),
               i > 0 ? fmt::format("{:.3g}", point.loss_saved_per_mb) : "", bars[i],
               i == static_cast<size_t>(sweep.knee) ? "<- knee" : ""});
  }
  return table.render();
}

int sweep_command(const Common& common, const Options& options) {
  const Planning planning = parse_planning(options.planning, false);
  if (options.points < 2 || options.points > kMostPoints) {
    fail(Code::kUsage, "--points {}: use a number from 2 to {}", options.points, kMostPoints);
  }
  threads(common);
  const CalibrationRequest calibration = calibration_request(common, options.calibration);
  check_measured_sweep(options.measured);
  if (options.measured.sizes > 0) row_options(common, options.measured.text);  // refuses at once
  const Checkpoint checkpoint = open_source(common, options.model);
  PlanRequest request = resolve(planning, checkpoint);
  const FitResources resources = fit_resources(common, needs_calibration(request));
  check_calibration(common, checkpoint, calibration, request, resources);
  if (options.measured.sizes > 0) (void)Tokenizer::open(checkpoint.folder);  // which the text needs
  if (needs_calibration(request) && options.measured.sizes > 0) {
    refuse_same_text("--calibration", options.calibration.text, options.measured.text.text);
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
  const std::string document = keep_sweep(study, checkpoint, curves, request, sweep);
  std::optional<MeasuredSweep> measured;
  if (options.measured.sizes > 0) {
    measured = measure_sweep(common, checkpoint, study, curves, request, options.measured);
  }
  if (common.json) {
    Json shown = parse_json(document, "the sweep");
    if (measured) shown["measured"] = measured->json;
    print_document(common, shown);
  } else {
    print_result(common, sweep_table(sweep) +
                             "\nThe knee is the size beyond which a further byte buys less than "
                             "the average byte of this range.\n" +
                             (measured ? "\n" + measured->text : ""));
  }
  return kDone;
}

}  // namespace

std::string keep_sweep(Study& study, const Checkpoint& checkpoint, const Curves& curves,
                       const PlanRequest& request, const Sweep& sweep) {
  std::string document = document_text(sweep_json(checkpoint, request, sweep));
  study.put_document(
      {.kind = "sweep",
       .key = fmt::format("{} {}", curves.stored.fingerprint, method_name(request.method)),
       .text = document});
  return document;
}

Action setup_sweep(Arguments app, const Common& common) {
  auto options = std::make_shared<Options>();
  app.add_option("MODEL", options->model, "folder or repository id").type_name("").required();
  app.add_option("--points", options->points, "how many sizes (default 24)").type_name("N");
  add_planning_options(app, options->planning, false);
  add_calibration_options(app, options->calibration);
  add_measured_sweep_options(app, options->measured);
  return [options, &common] { return sweep_command(common, *options); };
}

}  // namespace ram::cli
