// What `ram sweep` finds, for other commands too.
#pragma once

#include <string>

#include "ram/checkpoint.h"
#include "ram/plan.h"
#include "ram/study.h"

#include "model.h"

namespace ram::cli {

/// Keeps a sweep in the study, where reports find it. @return its JSON document.
std::string keep_sweep(Study& study, const Checkpoint& checkpoint, const Curves& curves,
                       const PlanRequest& request, const Sweep& sweep);

}  // namespace ram::cli
