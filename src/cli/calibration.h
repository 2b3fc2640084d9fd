// Shared by the commands that run the model before they plan or write: their options, progress, and
// the summary of the findings.
#pragma once

#include <optional>
#include <string>

#include "ram/arguments.h"
#include "ram/console.h"
#include "ram/fit.h"

#include "model.h"

namespace ram::cli {

/// As typed.
struct CalibrationArguments {
  std::string text = "own";
  std::optional<int64_t> rows;
  int64_t length = 256;
  std::string probe_time;
  std::string coefficients = "auto";
  std::string inputs = "compressed";  ///< or "original": CalibrationRequest::sequential
  bool random_start = false;
  bool operator==(const CalibrationArguments&) const = default;
};

/// @return seconds; 0 for an empty text. @param option named in errors. @throws Error{kUsage}
double parse_time(const std::string& option, const std::string& text);

void add_calibration_options(Arguments app, CalibrationArguments& arguments);

/// @return the typed options, refused at once if they would be refused when the model is run.
/// @throws Error{kUsage} a value out of range; {kMissing} no such file.
CalibrationRequest calibration_request(const Common& common, const CalibrationArguments& arguments);

/// Refuses at once a calibration file that takes too much memory, and what check_calibration_inputs
/// refuses. Does nothing if the request needs no calibration.
/// @throws Error{kUsage}; as check_calibration_inputs
void check_calibration(const Common& common, const Checkpoint& checkpoint,
                       const CalibrationRequest& calibration, const PlanRequest& request,
                       const FitResources& resources);

/// @return the resources that --threads and --memory allow.
/// @param runs_model also fill in `engine`.
FitResources fit_resources(const Common& common, bool runs_model);

/// Shows the events of long work on stderr, on one progress line.
class Reporter {
 public:
  explicit Reporter(const Common& common);
  /// @return events that must not outlive this object.
  const FitEvents& events() const { return events_; }
  /// Removes the line before something else is printed.
  void clear() { line_.clear(); }

 private:
  const Common& common_;
  ProgressLine line_;
  FitEvents events_;
};

/// @return events that show only notes.
FitEvents notes_only(const Common& common);

/// @return readable lines about what was measured; empty if nothing was.
std::string calibration_summary(const CalibrationFindings& found, const Plan& plan);

}  // namespace ram::cli
