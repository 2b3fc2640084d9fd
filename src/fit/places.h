// What the sources of this module share.
#pragma once

#include <cstdint>

#include "ram/checkpoint.h"
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

/// @return whether a request may leave the model unquantized; the curves then decide.
bool has_room_for_all(const Checkpoint& checkpoint, const PlanRequest& request);

/// @return whether a plan that says it was `made` so may be what `request` asks for: coefficients
/// that could not be trusted gave way to the priors.
bool was_asked(const PlanRequest& request, PlanRequest made);

/// @return a request that does not measure: without coefficients, and without what only these need.
PlanRequest by_priors(PlanRequest request);

/// @return a request that leaves all units unquantized, whatever method was requested.
PlanRequest as_it_is(PlanRequest request);

}  // namespace ram
