// One fit from an open model to a verified folder: what `fit` does once and `demo` three times.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "ram/build.h"

#include "calibration.h"
#include "common.h"
#include "model.h"

namespace ram::cli {

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
  PlanResult planned;  ///< without a plan: nothing was written
  BuildOutcome outcome = BuildOutcome::kWritten;
  VerifyReport report;
  std::optional<UniformBeside> beside;  ///< of the plan
  FitSeconds seconds;
  std::unique_ptr<Calibration> calibration;  ///< null where the model was not run
};

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

/// Analyzes, calibrates where the request asks for it, plans, writes and verifies.
FitResult fit_model(const Common& common, const Checkpoint& checkpoint, Study& study,
                    PlanRequest request, const std::filesystem::path& out, bool force, bool rehash,
                    const CalibrationArguments& calibration = {});

/// Writes the folder of a complete plan, with progress.
/// @param store where compressed units wait; null for encoder mlx.
BuildOutcome write_folder(const Common& common, const Checkpoint& checkpoint, const Plan& plan,
                          Study& study, const std::filesystem::path& out, bool force,
                          const EncodedStore* store = nullptr);

/// @return "written to OUT", or that it was there already.
std::string outcome_text(BuildOutcome outcome, const std::filesystem::path& out);

}  // namespace ram::cli
