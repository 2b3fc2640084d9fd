// The steps of a fit, and what is refused before the first of them.
#include "fitting.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <optional>

#include <fmt/format.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/size.h"

namespace ram::cli {

namespace fs = std::filesystem;

namespace {

class Stopwatch {
 public:
  double lap() {
    const auto now = std::chrono::steady_clock::now();
    const double seconds = std::chrono::duration<double>(now - last_).count();
    last_ = now;
    return seconds;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

bool is_inside(const fs::path& inner, const fs::path& outer) {
  const auto [end, ignored] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return end == outer.end();
}

// Without the slash at its end, which would count as one more component.
fs::path resolved(const fs::path& path) {
  fs::path out = fs::weakly_canonical(fs::absolute(path));
  return out.has_filename() ? out : out.parent_path();
}

// What the folder takes at most, as far as that is known before there is a plan.
int64_t expected_bytes(const Checkpoint& checkpoint, const PlanRequest& request) {
  const auto weights = static_cast<double>(checkpoint.weights());
  const auto full = static_cast<int64_t>(weights * dtype_bits(request.dtype) / 8);
  if (request.budget_bytes) return std::min(*request.budget_bytes, full);
  if (request.bits_per_weight) {
    return std::min(static_cast<int64_t>(weights * *request.bits_per_weight / 8), full);
  }
  return 0;  // a uniform plan: known exactly, and checked, before it is written
}

// The plan of a folder that ram made, or nothing.
std::optional<Plan> plan_of_folder(const fs::path& folder) {
  if (!fs::exists(folder / "plan.json")) return std::nullopt;
  try {
    return read_plan(folder);
  } catch (const Error&) {
    return std::nullopt;
  }
}

// An OUT that is there: may it be what was asked for, or may it be replaced? build_folder has the
// last word on both.
void check_existing(const Checkpoint& checkpoint, const PlanRequest& request, const fs::path& out,
                    bool force) {
  if (!fs::is_directory(out)) {
    fail(Code::kUsage, "{} exists and is not a folder: give another name", out.string());
  }
  if (force) {
    if (fs::is_empty(out) || fs::exists(out / "config.json")) return;
    fail(Code::kUsage,
         "{} is no model folder, and not replaced even with --force: give another name",
         out.string());
  }
  const std::optional<Plan> plan = plan_of_folder(out);
  if (!plan) {
    fail(Code::kUsage, "{} exists: give another name, or --force to replace it", out.string());
  }
  const bool same = plan->model_type == checkpoint.model_type && plan->dtype == request.dtype &&
                    request_options(plan->request) == request_options(request);
  if (same) return;
  fail(Code::kUsage,
       "{} was made from something else ({}, {}): give another name, or --force to replace it",
       out.string(), plan->model_name, request_options(plan->request));
}

}  // namespace

void check_output_folder(const Checkpoint& checkpoint, const PlanRequest& request,
                         const fs::path& out, bool force) {
  const fs::path place = resolved(out);
  const fs::path source = resolved(checkpoint.folder);
  if (is_inside(place, source) || is_inside(source, place)) {
    fail(Code::kUsage, "{} and the model's own folder {} lie inside each other: write elsewhere",
         out.string(), checkpoint.folder.string());
  }
  if (fs::exists(place)) check_existing(checkpoint, request, place, force);
  fs::path parent = place.parent_path();
  while (!fs::exists(parent) && parent.has_relative_path()) parent = parent.parent_path();
  if (access(parent.c_str(), W_OK) != 0) {
    fail_errno(true, "cannot create OUT", place.string(), errno);
  }
  const std::string partial = fmt::format(".{}.ram-partial", place.filename().string());
  if (fs::exists(place) || fs::exists(place.parent_path() / partial)) {
    return;  // part of what is needed may be there already
  }
  const int64_t needed = expected_bytes(checkpoint, request);
  const int64_t room = free_bytes(parent);
  if (room < needed) {
    fail(Code::kWriteFailed, "{}: {} needed and {} free: free {} and run the same command again",
         place.string(), format_bytes(needed), format_bytes(room), format_bytes(needed - room));
  }
}

BuildOutcome write_folder(const Common& common, const Checkpoint& checkpoint, const Plan& plan,
                          Study& study, const fs::path& out, bool force) {
  ProgressLine line(common);
  return build_folder(checkpoint, plan, study, out, {.threads = threads(common), .force = force},
                      line.function());
}

FitResult fit_model(const Common& common, const Checkpoint& checkpoint, Study& study,
                    const PlanRequest& request, const fs::path& out, bool force, bool rehash) {
  FitResult result;
  Stopwatch watch;
  const Curves curves =
      measure_for(common, checkpoint, study, request.method, request.dtype, rehash);
  result.seconds.analyze = watch.lap();
  result.planned = make_plan(curves.input(checkpoint), request);
  result.seconds.plan = watch.lap();
  for (const std::string& text : result.planned.notes) note(common, text);
  if (!result.planned.plan) return result;
  result.outcome = write_folder(common, checkpoint, *result.planned.plan, study, out, force);
  result.seconds.write = watch.lap();
  ProgressLine line(common);
  result.report = verify_folder(out, &checkpoint, &study, threads(common), line.function());
  result.seconds.verify = watch.lap();
  return result;
}

std::string outcome_text(BuildOutcome outcome, const fs::path& out) {
  return outcome == BuildOutcome::kWritten
             ? fmt::format("written to {}", out.string())
             : fmt::format("{} is already exactly this; nothing was touched", out.string());
}

}  // namespace ram::cli
