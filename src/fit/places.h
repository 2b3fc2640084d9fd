// What fit.cpp and places.cpp share.
#pragma once

#include <cstdint>

#include "ram/plan.h"

namespace ram {

/// Files of a study that is not open yet.
inline constexpr int64_t kStudyFiles = 4;

/// Refuses at once if files could not be opened hours later. Running the model opens each shard of
/// the source twice more; writing and verifying open each shard of the folder once or twice, and
/// smaller files one after another: a folder that cannot be verified would stay behind.
/// @param again shards of the source that running the model opens again; 0: it is not run.
/// @param others files that are not open yet. @throws as need_descriptors
void need_files_for(int64_t folder_bytes, int64_t again, int64_t others);

/// @return a request that leaves all units unquantized, whatever method was requested.
PlanRequest as_it_is(PlanRequest request);

}  // namespace ram
