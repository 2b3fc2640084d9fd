// The results of `ram sweep`, predicted and measured.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <span>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/experiments.h"

#include "line_fit.h"
#include "scored.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

constexpr AffineFormat kUniform[] = {{.bits = 3, .group_size = 64},
                                     {.bits = 4, .group_size = 64},
                                     {.bits = 5, .group_size = 64},
                                     {.bits = 6, .group_size = 64},
                                     {.bits = 8, .group_size = 64}};

/// Folders of the method by size, then uniform ones.
struct SweepFolders {
  std::vector<MadeFolder> made;
  std::vector<double> loss;  ///< of the method's folders
  size_t own() const { return loss.size(); }
};

/// Evenly spaced from the smallest safe folder to that of uniform 8:64.
std::vector<int64_t> sizes_of(const PlanInput& input, const PlanRequest& request, int count) {
  const Sweep ends = sweep_plans(input, request, 2);
  const PlanResult largest =
      make_plan(input, uniform_request({.bits = 8, .group_size = 64}, request.dtype));
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

/// "4.53-bits": with enough decimals to make all names differ; if that fails, by bytes.
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

/// Different plans of the method, by size.
std::vector<Plan> plans_of(const PlanInput& input, const MeasuredSweepRequest& request) {
  std::vector<Plan> plans;
  for (const int64_t bytes : sizes_of(input, request.plan, request.sizes)) {
    PlanRequest one = request.plan;
    one.budget_bytes = bytes;
    one.encoder = Encoder::kMlx;
    const PlanResult planned = make_plan(input, one);
    if (!planned.plan)
      continue;  // near the smallest size the JSON of a plan may be slightly too long
    // Budgets that differ by a few bytes may lead to the same formats.
    if (plans.empty() || !same_formats(plans.back(), *planned.plan)) plans.push_back(*planned.plan);
  }
  if (plans.size() < 2) {
    fail(Code::kUsage, "--measure: {} has only one plan between its smallest safe size and 8 bits",
         input.checkpoint.name);
  }
  return plans;
}

SweepFolders make_folders(const Checkpoint& checkpoint, Study& study, const Curves& curves,
                          const MeasuredSweepRequest& request, const FitEvents& events) {
  const PlanInput input = curves.input(checkpoint);
  SweepFolders folders;
  const auto write = [&](const std::string& name, const Plan& plan) {
    const fs::path out = request.out / name;
    write_folder(checkpoint, plan, study, out, true, request.scoring.resources.threads, events);
    folders.made.push_back({.label = name, .folder = out});
  };
  const std::vector<Plan> plans = plans_of(input, request);
  const std::vector<std::string> names = names_of(plans);
  for (size_t i = 0; i < plans.size(); ++i) {
    write(names[i], plans[i]);
    folders.loss.push_back(plans[i].objective);
  }
  for (const AffineFormat format : kUniform) {
    const PlanResult planned = make_plan(input, uniform_request(format, request.plan.dtype));
    if (!planned.plan) continue;
    write(fmt::format("uniform-{}-{}", format.bits, format.group_size), *planned.plan);
  }
  return folders;
}

/// Fits mean perplexity and KL to the predicted losses of the method's folders.
void fit_predictions(const SweepFolders& folders, const Comparison& comparison,
                     MeasuredSweepRecord& record) {
  std::vector<double> x;
  std::vector<double> mean;
  std::vector<double> ratios;
  for (size_t i = 0; i < folders.own(); ++i) {
    x.push_back(std::log1p(folders.loss[i]));
    mean.push_back(comparison.models[i].perplexity.summary.mean);
    const double kl = comparison.models[i].divergence.mean;
    if (kl > 0 && folders.loss[i] > 0) ratios.push_back(std::log(kl / folders.loss[i]));
  }
  const LineFit published = fit_line(x, mean);
  record.a = published.a;
  record.b = published.b;
  record.rms = published.rms;
  if (ratios.empty()) return;
  const auto count = static_cast<double>(ratios.size());
  double sum = 0;
  for (const double ratio : ratios) sum += ratio / count;
  for (const double ratio : ratios) record.kl_rms_log += (ratio - sum) * (ratio - sum) / count;
  record.kl_rms_log = std::sqrt(record.kl_rms_log);
  record.kl_per_loss = std::exp(sum);
}

/// KL saved per MB between two folders; 0 if they have the same size.
double bought(const Comparison& comparison, size_t from, size_t to) {
  const ComparedModel& a = comparison.models[from];
  const ComparedModel& b = comparison.models[to];
  const int64_t more = b.perplexity.model.bytes - a.perplexity.model.bytes;
  if (more == 0) return 0;
  return (a.divergence.mean - b.divergence.mean) * 1e6 / static_cast<double>(more);
}

}  // namespace

SweepRecord keep_sweep(Study& study, const Checkpoint& checkpoint, const Curves& curves,
                       const PlanRequest& request, const Sweep& sweep) {
  SweepRecord record{.fingerprint = curves.stored.fingerprint,
                     .model = checkpoint.name,
                     .method = std::string(method_name(request.method)),
                     .points = {},
                     .knee = sweep.knee,
                     .knee_bytes = sweep.points.at(static_cast<size_t>(sweep.knee)).total_bytes};
  for (const SweepPoint& point : sweep.points) {
    record.points.push_back({.total_bytes = point.total_bytes,
                             .bits_per_weight = point.bits_per_weight,
                             .loss = point.loss,
                             .lower_bound = point.lower_bound,
                             .loss_saved_per_mb = point.loss_saved_per_mb,
                             .limit = point.limit});
  }
  study.put_document(record.document());
  return record;
}

MeasuredSweep measure_sweep(const Checkpoint& checkpoint, Study& study, const Curves& curves,
                            const MeasuredSweepRequest& request, const FitEvents& events) {
  create_folder(request.out);
  const SweepFolders folders = make_folders(checkpoint, study, curves, request, events);
  MeasuredSweep found{.record = {},
                      .scored = score_folders(checkpoint, checkpoint.folder.string(), folders.made,
                                              study, request.scoring, events)};
  const Comparison& comparison = found.scored.comparison;
  MeasuredSweepRecord& record = found.record;
  record.digest = comparison.reference.model.digest;
  record.method = method_name(request.plan.method);
  fit_predictions(folders, comparison, record);
  record.first_step = bought(comparison, 0, 1);
  record.average = bought(comparison, 0, folders.own() - 1);
  for (size_t i = 0; i < folders.made.size(); ++i) {
    const ComparedModel& model = comparison.models[i];
    record.points.push_back(
        {.folder = folders.made[i].label,
         .bytes = model.perplexity.model.bytes,
         .bits = model.perplexity.model.bits_per_weight,
         .loss = i < folders.own() ? std::optional(folders.loss[i]) : std::nullopt,
         .kl = model.divergence.mean,
         .mean = model.perplexity.summary.mean,
         .median = model.perplexity.summary.median});
  }
  study.put_document(record.document());
  return found;
}

}  // namespace ram
