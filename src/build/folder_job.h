// The formats that one folder is made of: shared by the writer and verify.
#pragma once

#include <vector>

#include "ram/checkpoint.h"
#include "ram/mlx_layout.h"
#include "ram/plan.h"

namespace ram {

/// @return the formats of a plan whose units are the checkpoint's, in their order.
std::vector<UnitFormat> formats_of_plan(const Checkpoint& checkpoint, const Plan& plan);

}  // namespace ram
