// What the commands that run the model before they plan or write share: the text, the coefficients,
// and units compressed with them.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "ram/build.h"
#include "ram/calibrate.h"

#include "arguments.h"
#include "common.h"
#include "model.h"

namespace ram::cli {

/// As typed.
struct CalibrationArguments {
  std::string text = "own";
  int64_t rows = 64;
  int64_t length = 256;
  std::string probe_time;
  std::string inputs = "compressed";  ///< or "original": CompressOptions::sequential
  bool random_start = false;
  std::optional<uint64_t> seed = {};  ///< nothing: that of all commands
};

/// Refuses at once what would be refused when the model is run.
/// @throws Error{kUsage} a value out of range; {kMissing} no such file.
void check_calibration(const CalibrationArguments& arguments);

/// How --memory is shared while the model is run, known before anything is measured.
/// @throws Error{kUsage} it is too little.
CalibrationMemory calibration_memory(const Common& common, const Checkpoint& checkpoint,
                                     const CalibrationArguments& arguments);

/// Writes down in a request how it is going to be calibrated, as far as that is known before the
/// model is run (the text's digest is not); nothing where it needs no calibration.
/// @cost reads a calibration file.
/// @throws as read_text.
void announce_calibration(const Common& common, const Checkpoint& checkpoint,
                          const CalibrationArguments& arguments, PlanRequest& request);

/// @return the arguments that gave a plan its text, as its plan.json says; a file has to be named
/// again.
/// @throws Error{kUsage} it was calibrated on a file and `file` is empty, or on own text that this
///         ram writes by another rule.
CalibrationArguments arguments_of(const Plan& plan, const std::string& file);

void add_calibration_options(Arguments app, CalibrationArguments& arguments);

/// Whether a request needs the model to be run before it can be planned or written.
bool needs_calibration(const PlanRequest& request);

/// A model opened for running, with its text.
class Calibration {
 public:
  /// Writes or reads the text.
  /// @throws Error{kUsage} options, too little memory; and what own_text and file_text throw.
  Calibration(const Common& common, const Checkpoint& checkpoint, const std::string& fingerprint,
              const CalibrationArguments& arguments, Study& study);

  /// Says in the request what it was calibrated on; for Method::kMeasured measures the
  /// coefficients and what the request's encoder gains, and falls back to the priors, with a
  /// message, where the coefficients cannot be trusted.
  void complete(const PlanInput& input, PlanRequest& request);

  /// What PlanRequest::calibration says of it.
  std::string described(Encoder encoder) const;

  /// Compresses the units of a plan with its encoder into a store in `folder`, and sets their
  /// errors in the plan to what is stored. Where there is no space for it, what other stores hold
  /// there goes.
  /// @throws Error{kWriteFailed} no space for it and for the folder that is written from it.
  std::unique_ptr<EncodedStore> compress(Plan& plan, EncodedFolder& folder);

  /// Whether the divergence of the last plan compressed is within a factor of two of what its
  /// coefficients add up to; true where there are none.
  bool adds_up(const Plan& plan) const;

  /// Measures the coefficients again, each unit disturbed by the very errors that `store` holds.
  void measure_stored(const Plan& plan, const EncodedStore& store, PlanRequest& request);

  const CalibrationText& text() const { return text_; }
  const std::optional<Coefficients>& coefficients() const { return coefficients_; }
  const std::optional<CompressResult>& compressed() const { return compressed_; }

  /// @return lines for people on what was measured; empty if nothing was.
  std::string summary(const Plan& plan) const;
  Json json(const Plan& plan) const;

 private:
  double predicted_kl(const Plan& plan) const;
  /// Of --probe-time, what the first coefficients left; 0: no bound.
  double probe_left() const;
  CompressOptions compress_options(Encoder encoder, DType dtype) const;
  /// Tells people what probing is about to take.
  std::function<void(const ProbeForecast&)> forecast_note() const;

  const Common& common_;
  const Checkpoint& checkpoint_;
  std::string fingerprint_;
  Study& study_;
  double probe_seconds_ = 0;
  bool sequential_ = false;
  CalibrationMemory memory_;
  LanguageModel model_;
  CalibrationText text_;
  std::optional<Coefficients> coefficients_;
  std::optional<CompressResult> compressed_;
  bool trusted_ = false;
};

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
void refuse_overlap(const Common& common, std::span<const std::string> models,
                    const std::filesystem::path& text, Study& study);

}  // namespace ram::cli
