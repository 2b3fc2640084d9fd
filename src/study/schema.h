// The tables of a study, and the steps that bring an older file up to date.
#pragma once

#include <cstdint>

#include "sqlite.h"

namespace ram {

/// The first version that has the table `document`, and the columns `machine` and `last_write_ms`.
inline constexpr int64_t kDocumentsVersion = 4;
inline constexpr int64_t kMachinesVersion = 5;

/// Creates the tables of an empty file; brings an older one up to date, unless it cannot be
/// written.
/// @return the version of the schema that the file has now: evaluations are there from 2 on,
///         calibration from 3 on.
/// @throws Error{kCorrupt} no study, or damaged; {kUnsupported} a later version; {kWriteFailed}
///         empty, and cannot be written.
int64_t prepare_schema(Database& database);

}  // namespace ram
