// The steps of a fit, and what is refused before the first of them.
#include "fitting.h"

#include <algorithm>
#include <chrono>
#include <optional>

#include <fmt/format.h>

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

// The plan of a folder that is there and is not to be replaced; nothing if it has none.
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

// Refuses at once what could not be opened after hours. Writing and verifying hold each shard once
// or twice, and smaller files one after another: what cannot be verified would stay behind.
void need_files_for(int64_t folder_bytes, int64_t others) {
  constexpr int64_t kSmallFiles = 8;
  const int64_t shards = std::max<int64_t>(1, ceil_div(folder_bytes, kMaxShardBytes));
  need_descriptors(static_cast<int>(2 * shards + kSmallFiles + others));
}

// A request that leaves all units as they are, whatever was asked to choose their formats.
PlanRequest as_it_is(PlanRequest request) {
  if (request.method == Method::kMeasured) request.method = Method::kSquared;
  request.encoder = Encoder::kMlx;
  request.calibration.clear();
  request.probe_seconds = 0;
  return request;
}

[[noreturn]] void refuse_other(const fs::path& out, const Plan& plan, const std::string& what) {
  fail(Code::kUsage,
       "{} was made from something else ({}, {}{}): give another name, or --force to replace it",
       out.string(), plan.model_name, request_options(plan.request),
       what.empty() ? "" : "; it has " + what);
}

// An OUT that is there and is not to be replaced: may it be what was asked for? build_folder has
// the last word.
void check_existing(const Checkpoint& checkpoint, const PlanRequest& request, const fs::path& out) {
  const std::optional<Plan> plan = plan_of_folder(out);
  if (!plan) {
    fail(Code::kUsage, "{} exists: give another name, or --force to replace it", out.string());
  }
  PlanRequest made = plan->request;
  const bool fell_back = made.method == Method::kSquared && !made.calibration.empty();
  if (fell_back && request.method == Method::kMeasured) {
    made.method = Method::kMeasured;
    made.probe_seconds = request.probe_seconds;
  }
  if (plan->model_type == checkpoint.model_type && same_request(made, request)) return;
  const bool whole = nothing_quantized(*plan) && same_request(made, as_it_is(request));
  if (!whole) refuse_other(out, *plan, "");
}

// Formats given by hand are part of what is asked for.
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

// The coefficients do not add up to what the plan does: they are measured again at the plan's own
// errors, and if that does not help, the priors are tried. What is taken is what diverges least on
// the text.
std::unique_ptr<EncodedStore> plan_again(const Common& common, const PlanInput& input,
                                         const PlanRequest& request, Calibration& calibration,
                                         EncodedFolder& folder, std::unique_ptr<EncodedStore> store,
                                         PlanResult& planned, double compress_seconds) {
  note(common, fmt::format("the coefficients do not add up to the plan's divergence: they are "
                           "measured again at its own errors, and units compressed once or twice "
                           "more ({} each)",
                           format_seconds(compress_seconds)));
  const Plan first = *planned.plan;
  double least = calibration.compressed()->kl;
  PlanRequest measured = request;
  calibration.measure_stored(first, *store, measured);
  PlanRequest priors = request;
  priors.method = Method::kSquared;
  priors.coefficients.clear();
  priors.gains = {};
  bool current = true;  // `store` and the calibration's result are those of planned.plan
  for (const PlanRequest* next : {&measured, &priors}) {
    PlanResult other = make_plan(input, *next);
    if (!other.plan) continue;
    std::unique_ptr<EncodedStore> its = calibration.compress(*other.plan, folder);
    current = calibration.compressed()->kl < least;
    if (current) {
      least = calibration.compressed()->kl;
      planned = std::move(other);
      store = std::move(its);
      if (next == &priors) {
        note(common, "measuring again did not help: the plan is that of the priors");
      } else if (calibration.adds_up(*planned.plan)) {
        break;
      }
    }
  }
  if (!current) store = calibration.compress(*planned.plan, folder);  // most of it is still there
  return store;
}

}  // namespace

void check_output_folder(const Checkpoint& checkpoint, const PlanRequest& request,
                         const fs::path& out, bool force) {
  const OutState state = check_place(checkpoint, out, force);
  if (state == OutState::kThere && !force) check_existing(checkpoint, request, out);
  const int64_t needed = expected_bytes(checkpoint, request);
  constexpr int64_t kStudyFiles = 4;  // which are not open yet
  need_files_for(needed, kStudyFiles);
  if (state != OutState::kNew) return;  // part of what is needed may be there already
  const int64_t room = free_bytes(out);
  if (room < needed) {
    fail(Code::kWriteFailed, "{}: {} needed and {} free: free {} and run the same command again",
         out.string(), format_enough_bytes(needed), format_bytes(room),
         format_enough_bytes(needed - room));
  }
}

void check_encoded_space(const Plan& plan, const EncodedFolder& folder) {
  if (plan.encoder == Encoder::kMlx) return;
  int64_t needed = plan.total_bytes - folder.bytes() - unfinished_bytes(folder.out());
  for (const PlannedUnit& unit : plan.units) needed += unit.format ? unit.bytes : 0;
  const int64_t room = free_bytes(folder.path());
  if (room >= needed) return;
  fail(Code::kWriteFailed,
       "{}: {} needed, for the compressed units and then for the folder, and {} free: free {} and "
       "run the same command again",
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

BuildOutcome write_folder(const Common& common, const Checkpoint& checkpoint, const Plan& plan,
                          Study& study, const fs::path& out, bool force,
                          const EncodedStore* store) {
  need_files_for(plan.total_bytes, 0);
  BuildOptions options{.threads = threads(common), .force = force};
  options.note = [&common](const std::string& text) { note(common, text); };
  if (store != nullptr) {
    options.encoded = [store](int unit, int part, int64_t row, int64_t count, uint32_t* codes,
                              std::byte* scales, std::byte* biases) {
      store->read_rows(unit, part, row, count, codes, scales, biases);
    };
  }
  ProgressLine line(common);
  return build_folder(checkpoint, plan, study, out, options, line.function());
}

FitResult fit_model(const Common& common, const Checkpoint& checkpoint, Study& study,
                    PlanRequest request, const fs::path& out, bool force, bool rehash,
                    const CalibrationArguments& calibration) {
  FitResult result;
  Stopwatch watch;
  enter_stage(common, "analyze");
  const Curves curves =
      measure_for(common, checkpoint, study, request.method, request.dtype, rehash);
  result.seconds.analyze = watch.lap();
  std::optional<EncodedFolder> encoded;
  if (needs_calibration(request)) {
    encoded.emplace(out);  // refuses a second program before the long work
    // What cannot be met is refused before the long work.
    PlanRequest rough = request;
    if (rough.method == Method::kMeasured) rough.method = Method::kSquared;
    result.planned = make_plan(curves.input(checkpoint), rough);
    if (!result.planned.plan) return result;
    if (!nothing_quantized(*result.planned.plan)) {
      check_encoded_space(*result.planned.plan, *encoded);
    }
    if (!force) check_existing_plan(checkpoint, *result.planned.plan, out, false);
  }
  if (needs_calibration(request) && nothing_quantized(*result.planned.plan)) {
    note(common, "the model fits unquantized: it is not run, nothing would come of it");
    request = as_it_is(request);
  }
  if (needs_calibration(request)) {
    result.calibration = std::make_unique<Calibration>(
        common, checkpoint, curves.stored.fingerprint, calibration, study);
    result.calibration->complete(curves.input(checkpoint), request);
    result.seconds.calibrate = watch.lap();
  }
  result.planned = make_plan(curves.input(checkpoint), request);
  result.seconds.plan = watch.lap();
  for (const std::string& text : result.planned.notes) note(common, text);
  if (!result.planned.plan) return result;
  result.beside = uniform_beside(curves.input(checkpoint), *result.planned.plan);
  std::unique_ptr<EncodedStore> store;
  if (result.planned.plan->encoder != Encoder::kMlx) {
    store = result.calibration->compress(*result.planned.plan, *encoded);
    result.seconds.compress = watch.lap();
    if (!result.calibration->adds_up(*result.planned.plan)) {
      store = plan_again(common, curves.input(checkpoint), request, *result.calibration, *encoded,
                         std::move(store), result.planned, result.seconds.compress);
    }
    result.seconds.compress += watch.lap();
  }
  if (store) store->remove_others();
  if (store) result.beside = uniform_beside(curves.input(checkpoint), *result.planned.plan);
  enter_stage(common, "write");
  result.outcome =
      write_folder(common, checkpoint, *result.planned.plan, study, out, force, store.get());
  if (encoded) encoded->clear();
  result.seconds.write = watch.lap();
  enter_stage(common, "verify");
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
