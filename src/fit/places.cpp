// Refusals before the long work of a fit: OUT is something else, or its disk is too full.
#include "places.h"

#include <algorithm>
#include <optional>
#include <utility>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/fit.h"
#include "ram/size.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

// Upper bound of the folder's size, as far as it is known before there is a plan.
int64_t expected_bytes(const Checkpoint& checkpoint, const PlanRequest& request) {
  const auto weights = static_cast<double>(checkpoint.weights());
  const auto full = static_cast<int64_t>(weights * dtype_bits(request.dtype) / 8);
  if (request.budget_bytes) return std::min(*request.budget_bytes, full);
  if (request.bits_per_weight) {
    return std::min(static_cast<int64_t>(weights * *request.bits_per_weight / 8), full);
  }
  return 0;  // a uniform plan: known exactly, and checked, before it is written
}

// The plan of an existing folder that must not be replaced; nothing if it has none.
// @throws Error{kUsage} it cannot be read.
std::optional<Plan> plan_of_folder(const fs::path& folder) {
  std::error_code error;
  const fs::path file = folder / "plan.json";
  if (fs::status(file, error).type() == fs::file_type::not_found) return std::nullopt;
  try {
    return read_plan(file);
  } catch (const Error& unreadable) {
    fail(Code::kUsage, "{} exists, and its plan.json cannot be read ({}): give another name",
         folder.string(), unreadable.what());
  }
}

[[noreturn]] void refuse_other(const fs::path& out, const Plan& plan, const std::string& what) {
  fail(Code::kUsage,
       "{} was made from something else ({}, {}{}): give another name, or --force to replace it",
       out.string(), plan.model_name, request_options(plan.request),
       what.empty() ? "" : "; it has " + what);
}

// Checks whether an existing OUT that must not be replaced may be what was requested. build_folder
// decides.
void check_existing(const Checkpoint& checkpoint, const PlanRequest& request, const fs::path& out) {
  const std::optional<Plan> plan = plan_of_folder(out);
  if (!plan) {
    fail(Code::kUsage, "{} exists: give another name, or --force to replace it", out.string());
  }
  if (plan->model_type == checkpoint.model_type && was_asked(request, plan->request)) return;
  const bool whole = nothing_quantized(*plan) && same_request(plan->request, as_it_is(request));
  if (!whole) refuse_other(out, *plan, "");
}

// Formats given by hand are part of the request.
void check_formats(const Plan& asked, const Plan& made, const fs::path& out) {
  const auto same = [](const PlannedUnit& a, const PlannedUnit& b) {
    return a.name == b.name && a.format == b.format;
  };
  const auto [there, wanted] = std::mismatch(made.units.begin(), made.units.end(),
                                             asked.units.begin(), asked.units.end(), same);
  if (there == made.units.end() && wanted == asked.units.end()) return;
  refuse_other(out, made,
               wanted == asked.units.end() ? "more units"
                                           : fmt::format("another format of {}", wanted->name));
}

}  // namespace

void need_files_for(int64_t folder_bytes, int64_t again, int64_t others) {
  constexpr int64_t kSmallFiles = 8;
  const int64_t shards = std::max<int64_t>(1, ceil_div(folder_bytes, kMaxShardBytes));
  // The model, and its twin that runs with compressed weights; only the model is still open when
  // the folder is written.
  const int64_t running = 2 * again;
  const int64_t writing = again + 2 * shards;
  need_descriptors(static_cast<int>(std::max(running, writing) + kSmallFiles + others));
}

bool has_room_for_all(const Checkpoint& checkpoint, const PlanRequest& request) {
  const auto bits = static_cast<double>(dtype_bits(request.dtype));
  const auto bytes = static_cast<double>(checkpoint.weights()) * bits / 8;
  return (request.budget_bytes && static_cast<double>(*request.budget_bytes) >= bytes) ||
         (request.bits_per_weight && *request.bits_per_weight >= bits);
}

bool was_asked(const PlanRequest& request, PlanRequest made) {
  const bool fell_back = made.method == Method::kSquared && !made.calibration.empty();
  if (fell_back && request.method == Method::kMeasured) {
    made.method = Method::kMeasured;
    made.probe_seconds = request.probe_seconds;
    made.coefficient_source = request.coefficient_source;
  }
  return same_request(made, request);
}

PlanRequest by_priors(PlanRequest request) {
  if (request.method == Method::kMeasured) request.method = Method::kSquared;
  request.coefficients.clear();
  request.gains = {};
  request.probe_seconds = 0;
  request.coefficient_source = PlanRequest().coefficient_source;
  return request;
}

PlanRequest as_it_is(PlanRequest request) {
  request = by_priors(std::move(request));
  request.encoder = Encoder::kMlx;
  request.calibration.clear();
  return request;
}

void check_output_folder(const Checkpoint& checkpoint, const PlanRequest& request,
                         const fs::path& out, bool force) {
  const OutState state = check_out_folder(checkpoint, out, force);
  if (state == OutState::kThere && !force) check_existing(checkpoint, request, out);
  const int64_t needed = expected_bytes(checkpoint, request);
  need_files_for(needed, needs_calibration(request) ? std::ssize(checkpoint.files) : 0,
                 kStudyFiles);
  if (state != OutState::kNew) return;  // part of the needed space may be in use already
  const int64_t room = free_bytes(out);
  if (room < needed) {
    fail(Code::kWriteFailed,
         "{}: {} needed, but only {} free: free {} and run the same command again", out.string(),
         format_enough_bytes(needed), format_bytes(room), format_enough_bytes(needed - room));
  }
}

void check_encoded_space(const Plan& plan, const EncodedFolder& folder) {
  if (plan.encoder == Encoder::kMlx) return;
  int64_t needed = plan.total_bytes - folder.bytes() - unfinished_bytes(folder.out());
  for (const PlannedUnit& unit : plan.units) needed += unit.format ? unit.bytes : 0;
  const int64_t room = free_bytes(folder.path());
  if (room >= needed) return;
  fail(Code::kWriteFailed,
       "{}: {} needed, for the compressed units and then for the folder, but only {} free: free {} "
       "and run the same command again",
       folder.out().string(), format_enough_bytes(needed), format_bytes(room),
       format_enough_bytes(needed - room));
}

void check_existing_plan(const Checkpoint& checkpoint, const Plan& asked, const fs::path& out,
                         bool by_hand) {
  const std::optional<Plan> plan = plan_of_folder(out);
  if (!plan) return;
  if (plan->fingerprint != asked.fingerprint) refuse_other(out, *plan, "other weights");
  if (plan->model_name != asked.model_name) refuse_other(out, *plan, "another name");
  for (const CarriedFile& file : checkpoint.carried_files) {
    std::error_code failed;
    const auto bytes = fs::file_size(out / file.name, failed);
    if (failed || static_cast<int64_t>(bytes) != file.bytes) {
      refuse_other(out, *plan, "another " + file.name);
    }
  }
  if (by_hand) check_formats(asked, *plan, out);
}

}  // namespace ram
