// The tables of a study, and the steps that upgrade an older file.
#pragma once

#include <cstdint>

#include "sqlite.h"

namespace ram {

/// The first version that has the table `document`, and the columns `machine` and `last_write_ms`.
inline constexpr int64_t kDocumentsVersion = 4;
inline constexpr int64_t kMachinesVersion = 5;

/// Creates the tables of an empty file; upgrades an older one, unless it cannot be written.
/// @return the schema version that the file has now: it has evaluations from 2 on, calibration from
///         3 on.
/// @throws Error{kCorrupt} not a study, or damaged; {kUnsupported} a later version; {kWriteFailed}
///         empty, and cannot be written.
int64_t prepare_schema(Database& database);

}  // namespace ram
