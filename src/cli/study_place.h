// Where the study is, when nobody says so.
#pragma once

#include <optional>
#include <string>

namespace ram::cli {

struct StudyPlace {
  std::string typed;    ///< what --study says, for commands that are named to a user
  std::string path;     ///< empty: there is no place, see `problem`
  std::string note;     ///< what a user should know of the choice; empty: nothing
  std::string problem;  ///< why there is no place, and what to do; empty: there is one
  bool users = false;   ///< in the user's data folder, which is created when it is written to
};

/// `--study`, else $RAM_STUDY, else a ./ram.db that is there (with a note), else ram/ram.db in the
/// user's data folder: $XDG_DATA_HOME or ~/.local/share; ~/Library/Application Support on macOS.
/// Creates nothing.
///
/// @param given what --study says; nothing: it was not given.
/// @throws Error{kUsage} it was given and is empty.
StudyPlace find_study(const std::optional<std::string>& given);

}  // namespace ram::cli
