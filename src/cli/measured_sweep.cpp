#include "measured_sweep.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/eval.h"
#include "ram/size.h"

#include "calibration.h"
#include "comparison.h"
#include "engine_options.h"
#include "table.h"

namespace ram::cli {

namespace fs = std::filesystem;

namespace {

constexpr int kMostSizes = 100;
constexpr AffineFormat kUniform[] = {{.bits = 3, .group_size = 64},
                                     {.bits = 4, .group_size = 64},
                                     {.bits = 5, .group_size = 64},
                                     {.bits = 6, .group_size = 64},
                                     {.bits = 8, .group_size = 64}};

struct Made {
  std::string label;
  fs::path folder;
  double loss = 0;  ///< of its plan; of a uniform format too, by the same objective
  bool uniform = false;
};

/// y = a + b x by least squares, and what is left.
struct LineFit {
  double a = 0;
  double b = 0;
  double rms = 0;  ///< of the residuals
};

/// @pre two points or more with different x.
LineFit fit_line(const std::vector<double>& x, const std::vector<double>& y) {
  const auto count = static_cast<double>(x.size());
  double mean_x = 0;
  double mean_y = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    mean_x += x[i] / count;
    mean_y += y[i] / count;
  }
  double xx = 0;
  double xy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xx += (x[i] - mean_x) * (x[i] - mean_x);
    xy += (x[i] - mean_x) * (y[i] - mean_y);
  }
  LineFit fit{.b = xx > 0 ? xy / xx : 0};
  fit.a = mean_y - fit.b * mean_x;
  for (size_t i = 0; i < x.size(); ++i) {
    fit.rms += std::pow(y[i] - fit.a - fit.b * x[i], 2) / count;
  }
  fit.rms = std::sqrt(fit.rms);
  return fit;
}

/// Evenly spaced from the smallest safe folder to that of uniform 8:64.
std::vector<int64_t> sizes_of(const PlanInput& input, const PlanRequest& request, int count) {
  const Sweep ends = sweep_plans(input, request, 2);
  PlanRequest eight;
  eight.uniform = AffineFormat{.bits = 8, .group_size = 64};
  eight.method = Method::kUniform;
  eight.dtype = request.dtype;
  const PlanResult largest = make_plan(input, eight);
  const int64_t low = ends.points.front().total_bytes;
  const int64_t high =
      std::max(low, largest.plan ? largest.plan->total_bytes : ends.points.back().total_bytes);
  std::vector<int64_t> sizes;
  sizes.reserve(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) sizes.push_back(low + (high - low) * i / (count - 1));
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  return sizes;
}

bool same_formats(const Plan& a, const Plan& b) {
  return std::equal(
      a.units.begin(), a.units.end(), b.units.begin(), b.units.end(),
      [](const PlannedUnit& x, const PlannedUnit& y) { return x.format == y.format; });
}

/// "4.53-bits": with as many decimals as it takes for all to differ, and where none do, by bytes.
std::vector<std::string> names_of(std::span<const Plan> plans) {
  constexpr int kMostDecimals = 6;
  std::vector<std::string> names;
  for (int decimals = 2; decimals <= kMostDecimals; ++decimals) {
    names.clear();
    for (const Plan& plan : plans) {
      names.push_back(fmt::format("{:.{}f}-bits", plan.bits_per_weight, decimals));
    }
    if (std::set<std::string>(names.begin(), names.end()).size() == names.size()) return names;
  }
  names.clear();
  std::map<int64_t, int> seen;
  for (const Plan& plan : plans) {
    const int before = seen[plan.total_bytes]++;
    names.push_back(fmt::format("{}-bytes{}", plan.total_bytes,
                                before > 0 ? fmt::format("-{}", before + 1) : ""));
  }
  return names;
}

std::vector<Made> make_folders(const Common& common, const Checkpoint& checkpoint, Study& study,
                               const Curves& curves, const PlanRequest& request,
                               const MeasuredSweepArguments& arguments) {
  const PlanInput input = curves.input(checkpoint);
  std::vector<Made> made;
  const auto write = [&](const std::string& name, const Plan& plan, bool uniform) {
    const fs::path out = fs::path(arguments.out) / name;
    const Reporter reporter(common);
    write_folder(checkpoint, plan, study, out, true, threads(common), reporter.events());
    made.push_back({.label = name, .folder = out, .loss = plan.objective, .uniform = uniform});
  };
  std::vector<Plan> plans;
  for (const int64_t bytes : sizes_of(input, request, arguments.sizes)) {
    PlanRequest one = request;
    one.budget_bytes = bytes;
    one.encoder = Encoder::kMlx;
    const PlanResult planned = make_plan(input, one);
    if (!planned.plan) continue;  // JSON of other plans is a little longer at the very floor
    // Budgets a few bytes apart may buy the same formats.
    if (plans.empty() || !same_formats(plans.back(), *planned.plan)) plans.push_back(*planned.plan);
  }
  if (plans.size() < 2) {
    fail(Code::kUsage, "--measure: {} has one plan only between its smallest safe size and 8 bits",
         checkpoint.name);
  }
  const std::vector<std::string> names = names_of(plans);
  for (size_t i = 0; i < plans.size(); ++i) write(names[i], plans[i], false);
  for (const AffineFormat format : kUniform) {
    PlanRequest one;
    one.uniform = format;
    one.method = Method::kUniform;
    one.dtype = request.dtype;
    const PlanResult planned = make_plan(input, one);
    if (!planned.plan) continue;
    write(fmt::format("uniform-{}-{}", format.bits, format.group_size), *planned.plan, true);
  }
  return made;
}

struct Fits {
  LineFit published;       ///< mean perplexity on ln(1 + loss)
  double kl_per_loss = 0;  ///< geometric mean
  double kl_rms_log = 0;   ///< of ln(KL / loss) around it
};

Fits fit_predictions(const std::vector<Made>& made, const Comparison& comparison) {
  std::vector<double> x;
  std::vector<double> mean;
  std::vector<double> ratios;
  for (size_t i = 0; i < made.size(); ++i) {
    if (made[i].uniform) continue;
    x.push_back(std::log1p(made[i].loss));
    mean.push_back(comparison.models[i].perplexity.summary.mean);
    const double kl = comparison.models[i].divergence.mean;
    if (kl > 0 && made[i].loss > 0) ratios.push_back(std::log(kl / made[i].loss));
  }
  Fits fits{.published = fit_line(x, mean)};
  if (ratios.empty()) return fits;
  const auto count = static_cast<double>(ratios.size());
  double sum = 0;
  for (const double ratio : ratios) sum += ratio / count;
  for (const double ratio : ratios) fits.kl_rms_log += (ratio - sum) * (ratio - sum) / count;
  fits.kl_rms_log = std::sqrt(fits.kl_rms_log);
  fits.kl_per_loss = std::exp(sum);
  return fits;
}

/// KL saved per MB between two folders; 0 where they have one size, which buys nothing.
double bought(const Comparison& comparison, size_t from, size_t to) {
  const ComparedModel& a = comparison.models[from];
  const ComparedModel& b = comparison.models[to];
  const int64_t more = b.perplexity.model.bytes - a.perplexity.model.bytes;
  if (more == 0) return 0;
  return (a.divergence.mean - b.divergence.mean) * 1e6 / static_cast<double>(more);
}

std::string table_text(const std::vector<Made>& made, const Comparison& comparison,
                       const Fits& fits) {
  Table table({{"folder", Align::kLeft},
               {"size"},
               {"bits"},
               {"loss"},
               {"KL"},
               {"KL by loss"},
               {"mean"},
               {"mean by fit"},
               {"median"}});
  for (size_t i = 0; i < made.size(); ++i) {
    const ComparedModel& model = comparison.models[i];
    const double line = fits.published.a + fits.published.b * std::log1p(made[i].loss);
    const bool own = !made[i].uniform;
    table.add({made[i].label, format_bytes(model.perplexity.model.bytes),
               fmt::format("{:.2f}", model.perplexity.model.bits_per_weight),
               own ? fmt::format("{:.3g}", made[i].loss) : "",
               fmt::format("{:.3g}", model.divergence.mean),
               own ? fmt::format("{:.3g}", fits.kl_per_loss * made[i].loss) : "",
               four_digits(model.perplexity.summary.mean), own ? four_digits(line) : "",
               four_digits(model.perplexity.summary.median)});
  }
  return table.render();
}

}  // namespace

void add_measured_sweep_options(Arguments app, MeasuredSweepArguments& arguments) {
  app.add_option("--measure", arguments.sizes,
                 "also build and score folders of so many sizes, with --text")
      .type_name("N");
  app.add_option("-o,--output", arguments.out, "where these folders go (default ./ram-sweep)")
      .type_name("FOLDER")
      .takes(Takes::kOutputFolders);
  add_text_options(app, arguments.text, /*required=*/false);
}

void check_measured_sweep(const MeasuredSweepArguments& arguments) {
  if (arguments.sizes == 0 && arguments.text.text.empty()) return;
  if (arguments.sizes < 2 || arguments.sizes > kMostSizes) {
    fail(Code::kUsage, "--measure {}: use a number from 2 to {}", arguments.sizes, kMostSizes);
  }
  if (arguments.text.text.empty()) {
    fail(Code::kUsage, "--measure {}: needs a text to score, --text FILE", arguments.sizes);
  }
}

MeasuredSweep measure_sweep(const Common& common, const Checkpoint& checkpoint, Study& study,
                            const Curves& curves, const PlanRequest& request,
                            const MeasuredSweepArguments& arguments) {
  const RowOptions rows = row_options(common, arguments.text);
  std::error_code failed;
  fs::create_directories(arguments.out, failed);
  if (failed) fail_errno(true, "cannot create", arguments.out, failed.value());
  const std::vector<Made> made =
      make_folders(common, checkpoint, study, curves, request, arguments);
  std::vector<std::string> models = {checkpoint.folder.string()};
  std::vector<std::string> labels = {checkpoint.name};
  for (const Made& one : made) {
    models.push_back(one.folder.string());
    labels.push_back(one.label);
  }
  refuse_overlap(models, arguments.text.text, study, notes_only(common));
  Comparison comparison;
  {
    ProgressLine line(common);
    comparison = compare_models(models, arguments.text.text, rows, common.seed,
                                engine_options(common, "f32"), study, line.function());
  }
  // The comparison opened the model anew: it must be the one that the folders are made from.
  checkpoint.check_unchanged();
  const Fits fits = fit_predictions(made, comparison);
  size_t last = 0;
  for (size_t i = 0; i < made.size(); ++i) last = made[i].uniform ? last : i;
  const double first = bought(comparison, 0, 1);
  const double average = bought(comparison, 0, last);
  Json points = Json::array();
  for (size_t i = 0; i < made.size(); ++i) {
    const ComparedModel& model = comparison.models[i];
    points.push_back({{"folder", labels[i + 1]},
                      {"uniform", made[i].uniform},
                      {"total_bytes", model.perplexity.model.bytes},
                      {"bits_per_weight", model.perplexity.model.bits_per_weight},
                      {"loss", made[i].uniform ? Json(nullptr) : Json(made[i].loss)},
                      {"kl_mean", model.divergence.mean},
                      {"mean_perplexity", model.perplexity.summary.mean},
                      {"median_perplexity", model.perplexity.summary.median}});
  }
  MeasuredSweep result;
  result.json = {
      {"points", std::move(points)},
      {"fit", {{"a", fits.published.a}, {"b", fits.published.b}, {"rms", fits.published.rms}}},
      {"kl_per_loss", fits.kl_per_loss},
      {"kl_rms_log", fits.kl_rms_log},
      {"first_step_kl_per_mb", first},
      {"average_kl_per_mb", average}};
  study.put_document(
      {.kind = "measured_sweep",
       .key = fmt::format("{} {}", comparison.reference.model.digest, method_name(request.method)),
       .text = document_text(result.json)});
  result.json["comparison"] = comparison_json(rows, comparison, labels);
  result.text =
      text_line(arguments.text, comparison.text) + "\n" + table_text(made, comparison, fits) +
      fmt::format(
          "\nMean perplexity = {:.5g} + {:.4g} ln(1 + loss): residuals {:.2g} (root mean square).\n"
          "KL = {:.3g} x loss: within a factor of {:.2f} (one standard deviation).\n"
          "The first step above the smallest size saves {:.3g} KL per MB, the average one "
          "{:.3g}.\n",
          fits.published.a, fits.published.b, fits.published.rms, fits.kl_per_loss,
          std::exp(fits.kl_rms_log), first, average);
  return result;
}

}  // namespace ram::cli
