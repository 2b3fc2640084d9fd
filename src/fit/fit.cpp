// The steps of a fit.
#include "ram/fit.h"

#include <chrono>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/text.h"

#include "events.h"
#include "places.h"

namespace ram {

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

// If the coefficients do not add up to the plan's divergence, those by noise are measured again at
// the plan's own errors; if that does not help, the priors are tried. The plan with the least
// divergence on the text is used. Those by gradients would need a probe of every unit: only the
// priors are tried, and only if the divergence is larger than predicted. A smaller one is expected,
// since feedback fits the text that it is measured on.
std::unique_ptr<EncodedStore> plan_again(const FitEvents& events, const PlanInput& input,
                                         const PlanRequest& request, Calibration& calibration,
                                         EncodedFolder& folder, std::unique_ptr<EncodedStore> store,
                                         PlanResult& planned, double compress_seconds) {
  const bool by_noise = request.coefficient_source == CoefficientSource::kNoise;
  const std::string work = by_noise ? "measuring them again at its own errors and compressing the "
                                      "units once or twice more"
                                    : "compressing the priors' plan too";
  note(events, fmt::format("the coefficients do not add up to the plan's divergence: {} ({} each)",
                           work, format_seconds(compress_seconds)));
  double least = calibration.compressed()->kl;
  const PlanRequest priors = by_priors(request);
  std::vector<PlanRequest> others = {priors};
  if (by_noise) {
    others.insert(others.begin(), request);
    calibration.measure_stored(*planned.plan, *store, others.front());
  }
  bool current = true;  // `store` and the calibration's result are those of planned.plan
  for (const PlanRequest& next : others) {
    PlanResult other = make_plan(input, next);
    if (!other.plan) continue;
    std::unique_ptr<EncodedStore> its = calibration.compress(*other.plan, folder);
    current = calibration.compressed()->kl < least;
    if (current) {
      least = calibration.compressed()->kl;
      planned = std::move(other);
      store = std::move(its);
      if (next.method == Method::kSquared) {
        note(events, "the priors' plan has the least divergence: using it");
      } else if (calibration.adds_up(*planned.plan)) {
        break;
      }
    }
  }
  if (!current) store = calibration.compress(*planned.plan, folder);  // most of it is still there
  return store;
}

}  // namespace

std::vector<std::string> fit_stages(const PlanRequest& request,
                                    const CalibrationRequest& calibration) {
  std::vector<std::string> names = {"analyze"};
  if (needs_calibration(request)) {
    const bool measured = request.method == Method::kMeasured;
    if (calibration.own()) names.emplace_back("write text");
    if (measured) names.emplace_back("measure coefficients");
    if (measured && request.encoder == Encoder::kFeedback) {
      names.emplace_back("sample the encoder");
    }
    if (request.encoder != Encoder::kMlx) names.emplace_back("compress");
  }
  names.insert(names.end(), {"write", "verify"});
  return names;
}

BuildOutcome write_folder(const Checkpoint& checkpoint, const Plan& plan, Study& study,
                          const fs::path& out, bool force, int threads, const FitEvents& events,
                          const EncodedStore* store) {
  need_files_for(plan.total_bytes, 0, 0);
  BuildOptions options{.threads = threads, .force = force};
  options.note = events.note;
  if (store != nullptr) {
    options.encoded = [store](int unit, int part, int64_t row, int64_t count, uint32_t* codes,
                              std::byte* scales, std::byte* biases) {
      store->read_rows(unit, part, row, count, codes, scales, biases);
    };
  }
  return build_folder(checkpoint, plan, study, out, options, events.progress);
}

FitResult fit(const Checkpoint& checkpoint, Study& study, const FitRequest& asked,
              const FitEvents& events) {
  PlanRequest request = asked.plan;
  const fs::path& out = asked.out;
  const int threads = asked.resources.threads;
  FitResult result;
  Stopwatch watch;
  enter_stage(events, "analyze");
  const Curves curves = measure_curves_for(checkpoint, study, request.method, request.dtype,
                                           asked.rehash, threads, events.progress);
  result.seconds.analyze = watch.lap();
  std::optional<EncodedFolder> encoded;
  if (needs_calibration(request)) {
    encoded.emplace(out);  // refuses a second program before the long work starts
    // Impossible requests are refused before the long work starts.
    PlanRequest rough = request;
    if (rough.method == Method::kMeasured) rough.method = Method::kSquared;
    result.planned = make_plan(curves.input(checkpoint), rough);
    if (!result.planned.plan) return result;
    if (!nothing_quantized(*result.planned.plan)) {
      check_encoded_space(*result.planned.plan, *encoded);
    }
    if (!asked.force) check_existing_plan(checkpoint, *result.planned.plan, out, false);
  }
  if (needs_calibration(request) && nothing_quantized(*result.planned.plan)) {
    note(events, "the model fits unquantized, so it is not run");
    request = as_it_is(request);
  }
  std::unique_ptr<Calibration> calibration;
  if (needs_calibration(request)) {
    calibration =
        std::make_unique<Calibration>(checkpoint, curves.stored.fingerprint, asked.calibration,
                                      asked.resources.engine, study, events);
    calibration->complete(curves.input(checkpoint), request);
    result.seconds.calibrate = watch.lap();
  }
  result.planned = make_plan(curves.input(checkpoint), request);
  result.seconds.plan = watch.lap();
  for (const std::string& text : result.planned.notes) note(events, text);
  if (!result.planned.plan) return result;
  result.beside = uniform_beside(curves.input(checkpoint), *result.planned.plan);
  std::unique_ptr<EncodedStore> store;
  if (result.planned.plan->encoder != Encoder::kMlx) {
    store = calibration->compress(*result.planned.plan, *encoded);
    result.seconds.compress = watch.lap();
    const CalibrationFindings found = calibration->findings(*result.planned.plan);
    const bool by_noise = found.source == CoefficientSource::kNoise;
    if (!found.adds_up && (by_noise || found.compressed->kl > found.predicted_kl)) {
      store = plan_again(events, curves.input(checkpoint), request, *calibration, *encoded,
                         std::move(store), result.planned, result.seconds.compress);
    }
    result.seconds.compress += watch.lap();
  }
  if (store) store->remove_others();
  if (store) result.beside = uniform_beside(curves.input(checkpoint), *result.planned.plan);
  enter_stage(events, "write");
  if (calibration) result.calibration = calibration->findings(*result.planned.plan);
  result.outcome = write_folder(checkpoint, *result.planned.plan, study, out, asked.force, threads,
                                events, store.get());
  if (encoded) encoded->clear();
  result.seconds.write = watch.lap();
  enter_stage(events, "verify");
  result.report = verify_folder(out, &checkpoint, &study, threads, events.progress);
  result.seconds.verify = watch.lap();
  return result;
}

}  // namespace ram
