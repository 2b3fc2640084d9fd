// Where the study is, when nobody says so, and opening it. Part of the module `command_line`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ram/console.h"
#include "ram/study.h"

namespace ram::cli {

/// `--study`, else $RAM_STUDY, else a ./ram.db that is there (with a note), else ram/ram.db in the
/// user's data folder: $XDG_DATA_HOME or ~/.local/share; ~/Library/Application Support on macOS.
/// Creates nothing.
///
/// @param given what --study says; nothing: it was not given.
/// @throws Error{kUsage} it was given and is empty.
StudyPlace find_study(const std::optional<std::string>& given);

/// Opens the study, creating it if it is missing; says where it is if the user did not.
/// @throws Error{kUsage} there is no place for it; {kWriteFailed} it cannot be created; as Study.
/// @param options what is kept beside the work, as "analyze --encoder mlx".
Study open_study(const Common& common, const std::string& options);

/// Opens the study if there is one; creates none.
std::optional<Study> open_existing_study(const Common& common);

/// As open_existing_study, for work that a study only helps: one that cannot be opened is noted and
/// gone without, unless --study names it.
std::optional<Study> open_study_if_usable(const Common& common);

/// @return what the study takes on disk, with its log; 0 where it is not there.
int64_t study_bytes(const Common& common);

}  // namespace ram::cli
