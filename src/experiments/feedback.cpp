// What error feedback gains: the same formats with plain rounding and with feedback.
#include <algorithm>
#include <memory>

#include "ram/calibrate.h"
#include "ram/error.h"
#include "ram/experiments.h"

#include "scored.h"

namespace ram {

namespace fs = std::filesystem;

namespace {

struct FeedbackFolder {
  std::string formats;  ///< FeedbackRecord::Variant's
  std::string text;
  int64_t bytes = 0;
};

/// Makes the folders.
class FeedbackFolders {
 public:
  FeedbackFolders(const Checkpoint& checkpoint, Study& study, const FeedbackRequest& request,
                  const FitEvents& events)
      : request_(request),
        checkpoint_(checkpoint),
        study_(study),
        events_(events),
        dtype_(checkpoint_.default_dtype()),
        curves_(measure_curves_for(checkpoint_, study_, Method::kMeasured, dtype_, false,
                                   request.scoring.resources.threads, events.progress)),
        own_(checkpoint_, curves_.stored.fingerprint, request.calibration,
             request.scoring.resources.engine, study_, events) {
    if (!request.real) return;
    real_.emplace(checkpoint_, curves_.stored.fingerprint, *request.real,
                  request.scoring.resources.engine, study_, events);
  }

  void write_all() {
    int64_t middle = 0;
    for (const int group : {128, 64, 32}) {
      const PlanRequest request = uniform_request({.bits = 4, .group_size = group}, dtype_);
      const PlanResult planned = make_plan(curves_.input(checkpoint_), request);
      RAM_CHECK(planned.plan.has_value());
      if (group == 64) middle = planned.plan->total_bytes;
      write_each(format_name(*request.uniform), *planned.plan);
    }
    // The plan is made once, with coefficients from the own text, at the bytes of uniform 4:64.
    PlanRequest request;
    request.budget_bytes = middle;
    request.method = Method::kMeasured;
    request.dtype = dtype_;
    own_.complete(curves_.input(checkpoint_), request);
    const PlanResult planned = make_plan(curves_.input(checkpoint_), request);
    if (planned.plan) write_each("plan", *planned.plan);
  }

  const std::vector<MadeFolder>& made() const { return made_; }
  const std::vector<FeedbackFolder>& folders() const { return folders_; }

 private:
  void write_each(const std::string& formats, const Plan& plan) {
    write(formats, "", plan, nullptr);
    write(formats, "own", plan, &own_);
    if (real_) write(formats, "real", plan, &*real_);
  }

  /// Writes a folder; the formats do not depend on the encoder, plan.json differs only in name and
  /// text.
  void write(const std::string& formats, const std::string& text, Plan plan,
             Calibration* calibration) {
    std::string name = formats + (text.empty() ? "" : "-" + text);
    std::replace(name.begin(), name.end(), ':', '-');
    const fs::path out = request_.out / name;
    std::optional<EncodedFolder> encoded;
    std::unique_ptr<EncodedStore> store;
    if (calibration != nullptr) {
      plan.request.encoder = Encoder::kFeedback;
      plan.request.calibration = calibration->described(plan.request.encoder);
      // Its plan.json is longer; the budget leaves room for that.
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
    write_folder(checkpoint_, plan, study_, out, true, request_.scoring.resources.threads, events_,
                 store.get());
    if (encoded) encoded->clear();
    made_.push_back({.label = name, .folder = out});
    folders_.push_back({.formats = formats, .text = text, .bytes = plan.total_bytes});
  }

  const FeedbackRequest& request_;
  const Checkpoint& checkpoint_;
  Study& study_;
  const FitEvents& events_;
  DType dtype_;
  Curves curves_;
  Calibration own_;
  std::optional<Calibration> real_;
  std::vector<MadeFolder> made_;
  std::vector<FeedbackFolder> folders_;
};

/// @return the ratio of one folder's divergence to another's; nothing if the other's is zero.
std::optional<FeedbackRecord::Ratio> ratio_of(const Comparison& comparison, size_t model,
                                              size_t other) {
  for (const PairTest& test : comparison.pairs) {
    if (!test.kl_ratio || *test.kl_ratio <= 0) continue;
    const auto a = static_cast<size_t>(test.a);
    const auto b = static_cast<size_t>(test.b);
    const bool inverse = a == other + 1 && b == model + 1;
    if (!inverse && (a != model + 1 || b != other + 1)) continue;
    FeedbackRecord::Ratio ratio{.value = inverse ? 1 / *test.kl_ratio : *test.kl_ratio, .ci95 = {}};
    if (comparison.text.rows.size() < 2) return ratio;
    const auto [low, high] = test.kl_ratio95;
    ratio.ci95 = inverse ? Interval{1 / high, 1 / low} : Interval{low, high};
    return ratio;
  }
  return {};
}

/// The folder with these formats and plain rounding.
size_t plain_of(const std::vector<FeedbackFolder>& folders, const std::string& formats) {
  const auto at = std::find_if(folders.begin(), folders.end(), [&](const FeedbackFolder& one) {
    return one.formats == formats && one.text.empty();
  });
  return static_cast<size_t>(at - folders.begin());
}

}  // namespace

FeedbackExperiment measure_feedback(const Checkpoint& checkpoint, Study& study,
                                    const FeedbackRequest& request, const FitEvents& events) {
  create_folder(request.out);
  std::vector<MadeFolder> made;
  std::vector<FeedbackFolder> folders;
  {
    FeedbackFolders making(checkpoint, study, request, events);
    making.write_all();
    made = making.made();
    folders = making.folders();
  }
  study.set_options("gptq compare");
  FeedbackExperiment found{
      .record = {},
      .scored = score_folders(checkpoint, request.model, made, study, request.scoring, events)};
  const Comparison& comparison = found.scored.comparison;
  found.record.digest = comparison.reference.model.digest;
  for (size_t i = 0; i < made.size(); ++i) {
    const PairedDifference& kl = comparison.models[i].against_reference.kl;
    const size_t plain = plain_of(folders, folders[i].formats);
    found.record.variants.push_back(
        {.folder = made[i].label,
         .formats = folders[i].formats,
         .text = folders[i].text,
         .bytes = folders[i].bytes,
         .kl = kl.delta,
         .kl95 = kl.t95,
         .over_plain = i == plain ? std::nullopt : ratio_of(comparison, i, plain)});
  }
  study.put_document(found.record.document());
  return found;
}

}  // namespace ram
