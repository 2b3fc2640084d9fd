// `ram sweep --measure`: the predicted curve beside what folders of its sizes really lose.
#pragma once

#include <string>

#include "ram/checkpoint.h"
#include "ram/plan.h"
#include "ram/study.h"

#include "arguments.h"
#include "common.h"
#include "evaluation.h"
#include "model.h"

namespace ram::cli {

struct MeasuredSweepArguments {
  int sizes = 0;  ///< 0: nothing is measured
  std::string out = "./ram-sweep";
  TextArguments text;
};

void add_measured_sweep_options(Arguments app, MeasuredSweepArguments& arguments);

/// @throws Error{kUsage} what would be refused after the long work.
void check_measured_sweep(const MeasuredSweepArguments& arguments);

/// Builds folders at some sizes from the smallest safe one up, and uniform formats beside them,
/// scores all against the original, and fits predictions to what is found.
struct MeasuredSweep {
  std::string text;  ///< for people
  Json json;
};
MeasuredSweep measure_sweep(const Common& common, const Checkpoint& checkpoint, Study& study,
                            const Curves& curves, const PlanRequest& request,
                            const MeasuredSweepArguments& arguments);

}  // namespace ram::cli
