// From an open model to a verified folder in one call: analysis, calibration, planning,
// compression, writing, verification; and its steps, for those who take them one by one.
//
// Nothing here prints or knows a command line, and nothing is kept in the process: what to tell
// people goes to FitEvents, and a CancelScope (cancellation.h) stops it where nothing is lost.
// Fits of several models may run at a time, each with a Checkpoint and a Study of its own.
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

/// What long work says while it goes on. Each may be empty; all are called from one thread at a
/// time.
struct FitEvents {
  std::function<void(std::string_view stage)> stage = {};  ///< begins: a name of fit_stages()
  std::function<void(const std::string& text)> note = {};  ///< that people should know
  ProgressFn progress = {};
};

/// What the work may take of the machine.
struct FitResources {
  int threads = 1;       ///< that read, measure and encode weights
  EngineOptions engine;  ///< threads and memory of running the model; looked at where it is run
};

/// What is held at once while weights are read, whatever the size of the model: a share that does
/// not depend on the threads (tables, SQLite's cache, the curves of every expert), and each
/// thread's blocks.
/// @source VmHWM of `ram fit` on a model of 1 GiB: 8 MiB and 9 MiB per thread, rounded up; twenty
///         thousand experts add less than 32 MiB
inline constexpr int64_t kMemoryBase = int64_t{64} << 20;
inline constexpr int64_t kMemoryPerThread = int64_t{12} << 20;

/// Curves of a checkpoint for a method: what is stored, and what the method plans with.
struct Curves {
  ModelCurves stored;
  std::optional<ModelCurves> simulated;
  AnalyzeStats stats;  ///< of both

  PlanInput input(const Checkpoint& checkpoint) const {
    return {checkpoint, stored, simulated ? &*simulated : nullptr};
  }
};

/// @return a row for each unit and format that its rows allow, and one for unquantized, as CSV.
std::string curves_csv(const Checkpoint& checkpoint, const ModelCurves& curves);

/// analyze(), whose curves as stored are kept in the study as a table too, for reports.
ModelCurves measure_curves(const Checkpoint& checkpoint, Study& study,
                           const AnalyzeOptions& options, AnalyzeStats* stats,
                           const ProgressFn& progress = {});

/// As measure_curves, for all curves that a method needs.
Curves measure_curves_for(const Checkpoint& checkpoint, Study& study, Method method, DType dtype,
                          bool rehash, int threads, const ProgressFn& progress = {});

/// On what the model is run before it is planned or written, and how.
struct CalibrationRequest {
  std::string text = "own";  ///< "own", "random", or a file
  CalibrationTextOptions rows;
  double probe_seconds = 0;  ///< what measuring coefficients may take, about; 0: no bound
  bool sequential = true;    ///< CompressOptions::sequential

  bool own() const { return text == "own"; }
  bool file() const { return text != "own" && text != "random"; }
};

/// @return whether a request needs the model to be run before it can be planned or written.
bool needs_calibration(const PlanRequest& request);

/// Writes down in a request how it is going to be calibrated, as far as that is known before the
/// model is run (the text's digest is not); nothing where it needs no calibration.
/// @cost reads a calibration file. @throws as read_text.
void announce_calibration(const Checkpoint& checkpoint, const CalibrationRequest& calibration,
                          PlanRequest& request);

/// @return what gave a plan its text, as its plan.json says; a file has to be named again.
/// @throws Error{kUsage} it was calibrated on a file and `file` is empty, or on own text that this
///         ram writes by another rule.
CalibrationRequest calibration_of(const Plan& plan, const std::string& file);

/// @return how memory is shared while the model is run, known before anything is measured.
/// @throws Error{kUsage} it is too little.
CalibrationMemory calibration_memory(const Checkpoint& checkpoint, const EngineOptions& engine,
                                     const CalibrationRequest& calibration);

/// Refuses at once what running the model would be refused for after the long work: too little
/// memory, too few files that may be open, a text that needs a tokenizer where the model has none
/// or one that is not handled. Nothing where a request needs no calibration.
/// @throws as calibration_memory, Tokenizer::open and text_beginning; Error{kMissing} the files.
/// @cost   reads tokenizer.json.
void check_calibration_inputs(const Checkpoint& checkpoint, const EngineOptions& engine,
                              const CalibrationRequest& calibration, const PlanRequest& request);

/// What running the model found, as far as it came.
struct CalibrationFindings {
  CalibrationText text;
  std::optional<Coefficients> coefficients;  ///< for Method::kMeasured
  bool trusted = false;                      ///< the coefficients decided
  std::optional<CompressResult> compressed;  ///< of the last plan that was compressed
  double predicted_kl =
      0;                ///< of it: its units' errors times their coefficients; 0: there are none
  bool adds_up = true;  ///< its KL is within a factor of two of that
};

/// A model opened for running, with its text.
class Calibration {
 public:
  /// Writes or reads the text.
  /// @param fingerprint of the curves. @param checkpoint, study, events outlive it.
  /// @throws Error{kUsage} options, too little memory; {kCorrupt} the model's files changed since
  ///         `checkpoint` was opened; and what own_text and file_text throw.
  Calibration(const Checkpoint& checkpoint, const std::string& fingerprint,
              const CalibrationRequest& calibration, const EngineOptions& engine, Study& study,
              const FitEvents& events);
  ~Calibration();

  /// Says in the request what it was calibrated on; for Method::kMeasured measures the
  /// coefficients and what the request's encoder gains, and falls back to the priors, with a note,
  /// where the coefficients cannot be trusted.
  void complete(const PlanInput& input, PlanRequest& request);

  /// @return what PlanRequest::calibration says of it.
  std::string described(Encoder encoder) const;

  /// Compresses the units of a plan with its encoder into a store in `folder`, and sets their
  /// errors in the plan to what is stored. Where there is no space for it, what other stores hold
  /// there goes.
  /// @throws Error{kWriteFailed} no space for it and for the folder that is written from it.
  std::unique_ptr<EncodedStore> compress(Plan& plan, EncodedFolder& folder);

  /// @return whether the divergence of the last plan compressed is within a factor of two of what
  /// its coefficients add up to; true where there are none.
  bool adds_up(const Plan& plan) const;

  /// Measures the coefficients again, each unit disturbed by the very errors that `store` holds.
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
  CalibrationRequest calibration;  ///< looked at where the plan needs it
  std::filesystem::path out;
  bool force = false;   ///< replace OUT if it is there, whole, at the end
  bool rehash = false;  ///< read every tensor again
  FitResources resources;
};

/// What each step of a fit took.
struct FitSeconds {
  double analyze = 0;
  double calibrate = 0;  ///< text and coefficients
  double plan = 0;
  double compress = 0;
  double write = 0;
  double verify = 0;
};

struct FitResult {
  PlanResult planned;  ///< without a plan: it would be larger than asked, and nothing was written
  BuildOutcome outcome = BuildOutcome::kWritten;
  VerifyReport report;
  std::optional<UniformBeside> beside;  ///< of the plan
  FitSeconds seconds;
  std::optional<CalibrationFindings> calibration;  ///< nothing where the model was not run
};

/// Analyzes, calibrates where the request asks for it, plans, writes and verifies. What is done is
/// kept in the study and beside OUT: after a failure or a cancellation the same call goes on.
/// @throws Error{kInterrupted}; as check_output_folder, analyze, make_plan, Calibration,
///         build_folder and verify_folder.
FitResult fit(const Checkpoint& checkpoint, Study& study, const FitRequest& request,
              const FitEvents& events = {});

/// @return the stages of a fit, as FitEvents::stage and forecasts name them.
std::vector<std::string> fit_stages(const PlanRequest& request,
                                    const CalibrationRequest& calibration);

/// Refuses at once what would be refused after the long work: an OUT that is something else, lies
/// inside the source, cannot be written, or has no room.
/// @throws Error{kUsage, kWriteFailed}
void check_output_folder(const Checkpoint& checkpoint, const PlanRequest& request,
                         const std::filesystem::path& out, bool force);

/// Refuses at once, before the model is run, what there is no space for: the compressed units of a
/// plan, as far as it is known, and the folder that is written from them, less what an interrupted
/// run has of both.
/// @throws Error{kWriteFailed}
void check_encoded_space(const Plan& plan, const EncodedFolder& folder);

/// Refuses at once an OUT that is there, would not be replaced, and was made from other weights,
/// under another name or with other carried files than a plan says: what is left for build_folder
/// to find is what the long work decides.
/// @param by_hand the formats are part of what is asked for.
/// @throws Error{kUsage}
void check_existing_plan(const Checkpoint& checkpoint, const Plan& asked,
                         const std::filesystem::path& out, bool by_hand);

/// Writes the folder of a complete plan.
/// @param store where compressed units wait; null for encoder mlx.
BuildOutcome write_folder(const Checkpoint& checkpoint, const Plan& plan, Study& study,
                          const std::filesystem::path& out, bool force, int threads,
                          const FitEvents& events, const EncodedStore* store = nullptr);

struct StageForecast {
  std::string name;          ///< of fit_stages()
  double seconds = 0;        ///< about; what the study knows, and a killed run left, takes less
  int64_t memory_bytes = 0;  ///< at most, about
  int64_t disk_bytes = 0;    ///< that it adds
};

struct FitForecast {
  std::vector<StageForecast> stages;  ///< in their order
  /// What measuring coefficients takes at least, where probe_seconds is less; else 0.
  double probe_least_seconds = 0;

  double seconds() const;
  int64_t memory_bytes() const;  ///< of the stage that takes most
  int64_t disk_bytes() const;    ///< the most that is there at a time
};

/// Says what a fit is going to take, before the first of its stages: reads some of the model and
/// does a little of everything that is going to be done; writes nothing.
/// @param study null: there is none yet.
/// @cost some tenths of a second; where the model is run, some seconds.
FitForecast forecast_fit(const Checkpoint& checkpoint, Study* study, const FitRequest& request);

/// Refuses at once to calibrate on the text that is scored then.
/// @param option that names `calibration`, which may be "own" or "random" too, or empty.
/// @throws Error{kUsage}; as read_text
void refuse_same_text(const std::string& option, const std::string& calibration,
                      const std::filesystem::path& text);

/// Refuses to score a model on what it was calibrated on: the same file, or, where the study holds
/// the calibration text (of whatever kind: own, random, file), any 64 tokens in a row of it.
/// @param models folders or ids; those without a plan.json are not looked at, those with one that
/// is not ram's are noted.
/// @throws Error{kUsage} naming model, text and what they share.
void refuse_overlap(std::span<const std::string> models, const std::filesystem::path& text,
                    Study& study, const FitEvents& events);

}  // namespace ram
