// Experiments: each writes folders of one model, compares them with it and with each other, and
// keeps the results (results.h) in one call. docs/encoders.md and docs/evaluation.md explain their
// purpose.
//
// As in fit.h: nothing here prints; messages for people go to FitEvents, and a CancelScope stops
// the work at a point where nothing is lost. Finished work is kept in the study and in the folders;
// the same call continues from there. All throw what compare_models throws; Error{kCorrupt} also:
// the model changed since `checkpoint` was opened.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ram/checkpoint.h"
#include "ram/eval.h"
#include "ram/fit.h"
#include "ram/plan.h"
#include "ram/results.h"
#include "ram/study.h"
#include "ram/tasks.h"

namespace ram {

/// The text that folders are scored on, and the resources for it.
struct ScoringRequest {
  std::filesystem::path text;
  RowOptions rows;
  uint64_t seed = 42;  ///< of the bootstrap, and of noise
  FitResources resources;
};

/// Folders compared with their original.
struct ScoredFolders {
  Comparison comparison;
  std::vector<std::string> labels;  ///< of the original, then of the folders
};

/// Keeps predicted losses in the study. @return the kept record.
SweepRecord keep_sweep(Study& study, const Checkpoint& checkpoint, const Curves& curves,
                       const PlanRequest& request, const Sweep& sweep);

/// The predicted curve compared with the measured losses of folders: some sizes from the smallest
/// safe one to that of uniform 8:64, and uniform formats of 3, 4, 5, 6 and 8 bits.
struct MeasuredSweepRequest {
  PlanRequest plan;           ///< its budget is ignored; coefficients are in it
  int sizes = 2;              ///< number of the method's folders, at least 2
  std::filesystem::path out;  ///< folders are written into it; those of the same name are replaced
  ScoringRequest scoring;
};
struct MeasuredSweep {
  MeasuredSweepRecord record;
  ScoredFolders scored;
};
/// @throws Error{kUsage} there is only one plan between these sizes; as write_folder.
/// @cost a build for each size, and a comparison of all.
MeasuredSweep measure_sweep(const Checkpoint& checkpoint, Study& study, const Curves& curves,
                            const MeasuredSweepRequest& request, const FitEvents& events = {});

/// What calibration gains, and what the plan gains: uniform 4 bits in groups of 128, 64 and 32, and
/// one measured plan with the bytes of 4:64, each with plain rounding and with error feedback. Only
/// the last pair has the same bytes and the same formats.
struct FeedbackRequest {
  std::string model;  ///< folder or repository id, for the comparison
  CalibrationRequest calibration;
  /// The same on real text, in addition.
  std::optional<CalibrationRequest> real;
  std::filesystem::path out;  ///< as MeasuredSweepRequest::out
  ScoringRequest scoring;
};
struct FeedbackExperiment {
  FeedbackRecord record;
  ScoredFolders scored;
};
/// @cost six to twelve builds, up to eight of them with the model run, and a comparison of all.
/// @throws as Calibration and write_folder.
FeedbackExperiment measure_feedback(const Checkpoint& checkpoint, Study& study,
                                    const FeedbackRequest& request, const FitEvents& events = {});

/// Replaces a folder's errors, unit by unit, by Gaussian noise of the same size. If the noise does
/// as much harm, only the size of an error matters; if it does more, the encoder puts its errors
/// where they matter less.
struct NoiseRequest {
  std::string model;             ///< folder or repository id of the original
  std::string folder;            ///< made from it
  std::vector<double> relative;  ///< planned_errors of the two
  int seeds = 5;                 ///< number of draws, at least 2
  ScoringRequest scoring;
};
struct NoiseExperiment {
  NoiseRecord record;
  Comparison comparison;
};

/// @return per unit, the norm of its error relative to that of its weights, from a folder's plan; 0
///         for an unquantized unit.
/// @param folder named in errors. @throws Error{kUsage} the plan is of another model.
std::vector<double> planned_errors(const Checkpoint& checkpoint, const Plan& plan,
                                   const std::string& folder);

/// @param original, folder opened when the request was made.
/// @cost a comparison, and one pass of the text's rows through the model for each seed.
NoiseExperiment measure_noise(const Checkpoint& original, const Checkpoint& folder, Study& study,
                              const NoiseRequest& request, const FitEvents& events = {});

/// The whole chain on one model: the default at three budgets, the published method at the bytes of
/// the middle one, and uniform 4:64; their sweep; then, if the model's folder has heldout.txt and
/// questions.jsonl, a comparison of the folders on them.
struct DemoRequest {
  std::filesystem::path out;  ///< as MeasuredSweepRequest::out
  uint64_t seed = 42;
  FitResources resources;
};
struct DemoFolder {
  std::string label;
  std::filesystem::path folder;
  FitResult result;

  const Plan& plan() const { return *result.planned.plan; }
  bool whole() const { return result.report.problems.empty(); }
};
struct Demo {
  int64_t min_safe_bytes = 0;
  std::vector<DemoFolder> folders;  ///< uniform, published, then the default by size
  size_t middle = 0;                ///< position of the default at the middle budget
  std::filesystem::path text;       ///< the scored one
  RowOptions rows;
  std::optional<Comparison> comparison;
  std::optional<TaskRun> answers;
  std::vector<std::string> labels;  ///< of the model, then of the folders
};
/// @return the folders as `demo --json` lists them (docs/cli.md).
nlohmann::ordered_json demo_folders_json(const std::vector<DemoFolder>& folders);

/// @throws as fit, compare_models and run_tasks.
Demo run_demo(const Checkpoint& checkpoint, Study& study, const DemoRequest& request,
              const FitEvents& events = {});

/// @return the folder of the demo model: where it is installed, else in the source tree around the
///         program, else below the working folder.
/// @param program argv[0]; looked up as the shell does.
/// @throws Error{kMissing} it is in none of these places.
std::filesystem::path find_demo_model(const std::string& program);

}  // namespace ram
