// From an open model to a verified folder in one call: analysis, calibration, planning,
// compression, writing, verification; and the single steps, for callers that run them one by one.
//
// Nothing here prints or uses a command line, and there is no global state: messages for people go
// to FitEvents, and a CancelScope (cancellation.h) stops the work at a point where nothing is lost.
// Several models can be fitted at the same time, each with its own Checkpoint and Study.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ram/build.h"
#include "ram/calibrate.h"
#include "ram/checkpoint.h"
#include "ram/curve.h"
#include "ram/engine.h"
#include "ram/plan.h"
#include "ram/progress.h"
#include "ram/study.h"

namespace ram {

/// Callbacks of long work. Each may be empty; all are called from one thread at a time.
struct FitEvents {
  std::function<void(std::string_view stage)> stage = {};  ///< begins: a name of fit_stages()
  std::function<void(const std::string& text)> note = {};  ///< that a user should know
  ProgressFn progress = {};
};

/// The resources that the work may use.
struct FitResources {
  int threads = 1;       ///< for reading, measuring and encoding weights
  EngineOptions engine;  ///< threads and memory for running the model, if it is run
};

/// Memory in use while weights are read, independent of the model's size: a base that does not
/// depend on the threads (tables, SQLite's cache, the curves of every expert), and each thread's
/// blocks.
/// @source VmHWM of `ram fit` on a model of 1 GiB: 8 MiB and 9 MiB per thread, rounded up; twenty
///         thousand experts add less than 32 MiB
inline constexpr int64_t kMemoryBase = int64_t{64} << 20;
inline constexpr int64_t kMemoryPerThread = int64_t{12} << 20;

/// Curves of a checkpoint for a method: of what is stored, and of what the method plans with.
struct Curves {
  ModelCurves stored;
  std::optional<ModelCurves> simulated;
  AnalyzeStats stats;  ///< of both

  PlanInput input(const Checkpoint& checkpoint) const {
    return {checkpoint, stored, simulated ? &*simulated : nullptr};
  }
};

/// @return CSV: per unit a row for each format that its rows allow, and one for unquantized.
std::string curves_csv(const Checkpoint& checkpoint, const ModelCurves& curves);

/// analyze(); also keeps the curves of what is stored in the study as a table, for reports.
ModelCurves measure_curves(const Checkpoint& checkpoint, Study& study,
                           const AnalyzeOptions& options, AnalyzeStats* stats,
                           const ProgressFn& progress = {});

/// As measure_curves, for all curves that a method needs.
Curves measure_curves_for(const Checkpoint& checkpoint, Study& study, Method method, DType dtype,
                          bool rehash, int threads, const ProgressFn& progress = {});

/// The text on which the model is run before it is planned or written, and how.
struct CalibrationRequest {
  std::string text = "own";  ///< "own", "random", or a file
  CalibrationTextOptions rows;
  double probe_seconds = 0;  ///< approximate limit for measuring coefficients; 0: none. For noise
  CoefficientSource coefficients = CoefficientSource::kNoise;
  bool sequential = true;  ///< CompressOptions::sequential

  bool own() const { return text == "own"; }
  bool file() const { return text != "own" && text != "random"; }
};

/// @return whether a request needs the model to be run before it can be planned or written.
bool needs_calibration(const PlanRequest& request);

/// Records in a request how it will be calibrated, as far as that is known before the model is run
/// (the text's digest is not). Does nothing if it needs no calibration.
/// @cost reads a calibration file. @throws as read_text.
void announce_calibration(const Checkpoint& checkpoint, const CalibrationRequest& calibration,
                          PlanRequest& request);

/// @return how a plan's calibration text was made, from its plan.json; a file has to be named
///         again.
/// @throws Error{kUsage} it was calibrated on a file and `file` is empty, or on own text that this
///         version generates by another rule.
CalibrationRequest calibration_of(const Plan& plan, const std::string& file);

/// @return how memory will be divided while the model is run, before anything is measured.
/// @throws Error{kUsage} it is too little.
CalibrationMemory calibration_memory(const Checkpoint& checkpoint, const EngineOptions& engine,
                                     const CalibrationRequest& calibration);

/// Refuses at once what would fail after long work when the model is run: too little memory, too
/// low a limit on open files, a text that needs a tokenizer if the model has none or an unsupported
/// one. Does nothing if a request needs no calibration.
/// @throws as calibration_memory, Tokenizer::open and text_beginning; Error{kMissing} the files.
/// @cost   reads tokenizer.json.
void check_calibration_inputs(const Checkpoint& checkpoint, const EngineOptions& engine,
                              const CalibrationRequest& calibration, const PlanRequest& request);

/// The results of running the model so far.
struct CalibrationFindings {
  CalibrationText text;
  std::optional<Coefficients> coefficients;              ///< for Method::kMeasured
  CoefficientSource source = CoefficientSource::kNoise;  ///< of them
  bool trusted = false;                                  ///< the plan used the coefficients
  std::optional<CompressResult> compressed;              ///< of the last plan that was compressed
  double predicted_kl = 0;  ///< of it: its units' errors times coefficients; 0: there are none
  bool adds_up = true;      ///< its KL is within a factor of two of predicted_kl
};

/// A model opened for running, with its text.
class Calibration {
 public:
  /// Generates or reads the text.
  /// @param fingerprint of the curves. @param checkpoint, study, events outlive it.
  /// @throws Error{kUsage} options, too little memory; {kCorrupt} the model's files changed since
  ///         `checkpoint` was opened; and what own_text and file_text throw.
  Calibration(const Checkpoint& checkpoint, const std::string& fingerprint,
              const CalibrationRequest& calibration, const EngineOptions& engine, Study& study,
              const FitEvents& events);
  ~Calibration();

  /// Records in the request what it was calibrated on. For Method::kMeasured also measures the
  /// coefficients and the gains of the request's encoder, and falls back to the priors, with a
  /// note, if the coefficients cannot be trusted.
  void complete(const PlanInput& input, PlanRequest& request);

  /// @return the text for PlanRequest::calibration.
  std::string described(Encoder encoder) const;

  /// Compresses the units of a plan with its encoder into a store in `folder`, and sets their
  /// errors in the plan to what is stored. If space is short, the files of other stores in the
  /// folder are removed.
  /// @throws Error{kWriteFailed} no space for the store and the folder that is written from it.
  std::unique_ptr<EncodedStore> compress(Plan& plan, EncodedFolder& folder);

  /// @return whether the divergence of the last plan compressed is within a factor of two of the
  ///         prediction of its coefficients; true if there are none.
  bool adds_up(const Plan& plan) const;

  /// Measures the coefficients again, disturbing each unit by the actual errors in `store`.
  void measure_stored(const Plan& plan, const EncodedStore& store, PlanRequest& request);

  const CalibrationText& text() const;
  const std::optional<CompressResult>& compressed() const;
  CalibrationFindings findings(const Plan& plan) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

struct FitRequest {
  PlanRequest plan;                ///< dtype chosen; calibration announced
  CalibrationRequest calibration;  ///< used if the plan needs it
  std::filesystem::path out;
  bool force = false;   ///< replace an existing OUT, as a whole, at the end
  bool rehash = false;  ///< read every tensor again
  FitResources resources;
};

/// The time of each step of a fit.
struct FitSeconds {
  double analyze = 0;
  double calibrate = 0;  ///< text and coefficients
  double plan = 0;
  double compress = 0;
  double write = 0;
  double verify = 0;
};

struct FitResult {
  PlanResult planned;  ///< without a plan: the budget is too small, and nothing was written
  BuildOutcome outcome = BuildOutcome::kWritten;
  VerifyReport report;
  std::optional<UniformBeside> beside;  ///< for the plan
  FitSeconds seconds;
  std::optional<CalibrationFindings> calibration;  ///< nothing if the model was not run
};

/// Analyzes, calibrates if the request needs it, plans, writes and verifies. Finished work is kept
/// in the study and beside OUT: after a failure or a cancellation the same call continues.
/// @throws Error{kInterrupted}; as check_output_folder, analyze, make_plan, Calibration,
///         build_folder and verify_folder.
FitResult fit(const Checkpoint& checkpoint, Study& study, const FitRequest& request,
              const FitEvents& events = {});

/// @return the stages of a fit, as FitEvents::stage and forecasts name them.
std::vector<std::string> fit_stages(const PlanRequest& request,
                                    const CalibrationRequest& calibration);

/// Refuses at once what would fail after long work: an OUT that is something else, is inside the
/// source, cannot be written, or has too little space.
/// @throws Error{kUsage, kWriteFailed}
void check_output_folder(const Checkpoint& checkpoint, const PlanRequest& request,
                         const std::filesystem::path& out, bool force);

/// Fails at once, before the model is run, if space is short for the compressed units of a plan, as
/// far as it is known, and for the folder that is written from them, less what an interrupted run
/// left of both.
/// @throws Error{kWriteFailed}
void check_encoded_space(const Plan& plan, const EncodedFolder& folder);

/// Refuses at once an existing OUT that would not be replaced and was made from other weights,
/// under another name or with other carried files than the plan's. Only differences that depend on
/// the long work are left for build_folder to find.
/// @param by_hand the formats are part of the request.
/// @throws Error{kUsage}
void check_existing_plan(const Checkpoint& checkpoint, const Plan& asked,
                         const std::filesystem::path& out, bool by_hand);

/// Writes the folder of a complete plan.
/// @param store holds the compressed units; null for encoder mlx.
BuildOutcome write_folder(const Checkpoint& checkpoint, const Plan& plan, Study& study,
                          const std::filesystem::path& out, bool force, int threads,
                          const FitEvents& events, const EncodedStore* store = nullptr);

struct StageForecast {
  std::string name;          ///< of fit_stages()
  double seconds = 0;        ///< about; less if the study or a killed run has some of the results
  int64_t memory_bytes = 0;  ///< about the most
  int64_t disk_bytes = 0;    ///< that the stage adds
};

struct FitForecast {
  std::vector<StageForecast> stages;  ///< in order
  /// The least time that measuring coefficients takes, if it exceeds probe_seconds; else 0.
  double probe_least_seconds = 0;

  double seconds() const;
  int64_t memory_bytes() const;  ///< of the stage that takes the most
  int64_t disk_bytes() const;    ///< the most in use at a time
};

/// Estimates what a fit will take, before its first stage: reads some of the model and does a
/// little of each step; writes nothing.
/// @param study null: none exists yet.
/// @cost a few tenths of a second; a few seconds if the fit runs the model.
FitForecast forecast_fit(const Checkpoint& checkpoint, Study* study, const FitRequest& request);

/// A step that a fit does without, and why: its time, or what it lacks.
struct LeftOut {
  std::string step;
  std::string why;
};

/// The time of a fit for which nothing else is said.
inline constexpr double kUsualFitSeconds = 600;

struct ChosenSteps {
  FitRequest request;  ///< method, encoder and calibration chosen, and announced
  FitForecast forecast;
  std::vector<LeftOut> left_out;
};

/// Chooses the best way to fit a model whose forecast is within a time: plans by gradients written
/// with error feedback, plans by gradients written with plain rounding, or weights only. If OUT was
/// made in one of these ways, that one. The choice is part of plan.json's request.
/// @param asked plans with weights only. @param rows_given keep the rows of its calibration
/// @cost as forecast_fit, up to four times. @throws as forecast_fit
ChosenSteps choose_steps(const Checkpoint& checkpoint, Study* study, const FitRequest& asked,
                         double seconds, bool rows_given);

/// Refuses at once to calibrate on the text that will be scored.
/// @param option the command line option that gave `calibration`, which may also be "own", "random"
///         or empty.
/// @throws Error{kUsage}; as read_text
void refuse_same_text(const std::string& option, const std::string& calibration,
                      const std::filesystem::path& text);

/// Refuses to score a model on its calibration text: the same file or, if the study has the
/// calibration text (own, random or file), any 64 consecutive tokens of it.
/// @param models folders or ids; those without a plan.json are skipped, those with one that is not
///         ram's are noted.
/// @throws Error{kUsage} naming model, text and what they share.
void refuse_overlap(std::span<const std::string> models, const std::filesystem::path& text,
                    Study& study, const FitEvents& events);

}  // namespace ram
