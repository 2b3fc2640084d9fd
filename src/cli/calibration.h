// What the commands that run the model before they plan or write share: their options, how they
// show what goes on, and what was found.
#pragma once

#include <string>

#include "ram/arguments.h"
#include "ram/console.h"
#include "ram/fit.h"

#include "model.h"

namespace ram::cli {

/// As typed.
struct CalibrationArguments {
  std::string text = "own";
  int64_t rows = 64;
  int64_t length = 256;
  std::string probe_time;
  std::string inputs = "compressed";  ///< or "original": CalibrationRequest::sequential
  bool random_start = false;
};

void add_calibration_options(Arguments app, CalibrationArguments& arguments);

/// @return what was typed, refused at once where it would be refused when the model is run.
/// @throws Error{kUsage} a value out of range; {kMissing} no such file.
CalibrationRequest calibration_request(const Common& common, const CalibrationArguments& arguments);

/// Refuses at once a calibration file that takes too much of the memory, and what
/// check_calibration_inputs refuses; nothing where the request does not need it.
/// @throws Error{kUsage}; as check_calibration_inputs
void check_calibration(const Common& common, const Checkpoint& checkpoint,
                       const CalibrationRequest& calibration, const PlanRequest& request,
                       const FitResources& resources);

/// @return what --threads and --memory leave to the work.
/// @param runs_model engine is looked at.
FitResources fit_resources(const Common& common, bool runs_model);

/// Shows the events of long work on stderr, on one progress line.
class Reporter {
 public:
  explicit Reporter(const Common& common);
  /// @return events that outlive nothing of this object.
  const FitEvents& events() const { return events_; }
  /// Takes the line away, before something else is printed.
  void clear() { line_.clear(); }

 private:
  const Common& common_;
  ProgressLine line_;
  FitEvents events_;
};

/// @return events of which notes alone are shown.
FitEvents notes_only(const Common& common);

/// @return lines for people on what was measured; empty if nothing was.
std::string calibration_summary(const CalibrationFindings& found, const Plan& plan);

}  // namespace ram::cli
