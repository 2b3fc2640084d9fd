// What fit.cpp and places.cpp share.
#pragma once

#include <cstdint>

#include "ram/plan.h"

namespace ram {

/// Refuses at once what could not be opened after hours. Writing and verifying hold each shard once
/// or twice, and smaller files one after another: what cannot be verified would stay behind.
/// @param others files that are not open yet. @throws as need_descriptors
void need_files_for(int64_t folder_bytes, int64_t others);

/// @return a request that leaves all units as they are, whatever was asked to choose their formats.
PlanRequest as_it_is(PlanRequest request);

}  // namespace ram
