// Where the study is by default, and opening it. Part of the module `command_line`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ram/console.h"
#include "ram/study.h"

namespace ram::cli {

/// `--study`, else $RAM_STUDY, else an existing ./ram.db (with a note), else ram/ram.db in the
/// user's data folder: $XDG_DATA_HOME or ~/.local/share; ~/Library/Application Support on macOS.
/// Creates nothing.
///
/// @param given the value of --study; nothing: not given.
/// @throws Error{kUsage} it is given and empty.
StudyPlace find_study(const std::optional<std::string>& given);

/// Opens the study, creating it if it is missing; notes where it is if the user did not say.
/// @throws Error{kUsage} there is no place for it; {kWriteFailed} it cannot be created; as Study.
/// @param options recorded with the work: "analyze --encoder mlx".
Study open_study(const Common& common, const std::string& options);

/// Opens the study if it exists; never creates one.
std::optional<Study> open_existing_study(const Common& common);

/// As open_existing_study, for work that does not require a study: one that cannot be opened is
/// noted and ignored, unless --study names it.
std::optional<Study> open_study_if_usable(const Common& common);

/// @return bytes of the study on disk, with its log; 0 if it does not exist.
int64_t study_bytes(const Common& common);

}  // namespace ram::cli
