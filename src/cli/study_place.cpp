#include "study_place.h"

#include <cstdlib>
#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"

namespace ram::cli {
namespace {

namespace fs = std::filesystem;

std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// @return the folder that the system keeps for programs' data of this user; empty: not known.
fs::path data_folder() {
#if !defined(__APPLE__)
  // The specification: a relative path is ignored.
  // @source XDG Base Directory Specification 0.8
  fs::path data = environment("XDG_DATA_HOME");
  if (data.is_absolute()) return data;
#endif
  const fs::path home = environment("HOME");
  if (!home.is_absolute()) return {};
#if defined(__APPLE__)
  return home / "Library" / "Application Support";
#else
  return home / ".local" / "share";
#endif
}

}  // namespace

StudyPlace find_study(const std::optional<std::string>& given) {
  StudyPlace place;
  if (given) {
    if (given->empty()) {
      fail(Code::kUsage, "--study '': no name is given; name a file, or leave the option out");
    }
    place.typed = place.path = *given;
    return place;
  }
  place.path = environment("RAM_STUDY");
  if (!place.path.empty()) return place;
  const fs::path data = data_folder();
  std::error_code ignored;
  if (fs::exists("ram.db", ignored)) {
    place.path = "./ram.db";
    const std::string instead =
        data.empty() ? "--study FILE" : fmt::format("{}", (data / "ram" / "ram.db").string());
    place.note = fmt::format(
        "the study is ./ram.db, because it is there (in other folders: {}); --study or RAM_STUDY "
        "name one for good",
        instead);
    return place;
  }
  if (data.empty()) {
    place.problem =
        "no place for the study: HOME is not set; name a file with --study FILE or RAM_STUDY";
    return place;
  }
  place.path = (data / "ram" / "ram.db").string();
  place.users = true;
  return place;
}

}  // namespace ram::cli
