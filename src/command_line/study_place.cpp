#include "ram/study_place.h"

#include <filesystem>
#include <system_error>

#include <fmt/format.h>

#include "ram/error.h"
#include "ram/machine.h"

namespace ram::cli {
namespace {

namespace fs = std::filesystem;

/// @return the system's folder for this user's program data; empty: unknown.
fs::path data_folder() {
#if !defined(__APPLE__)
  // By the specification, a relative path is ignored.
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
      fail(Code::kUsage, "--study '': no name is given; name a file, or omit the option");
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
        "the study is ./ram.db, because it exists (in other folders: {}); --study or RAM_STUDY "
        "select one permanently",
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

namespace {

// Called before the study is used: reports, once, which study was chosen.
void say_place(const Common& common) {
  if (!common.place.note.empty() && !common.place_said) note(common, common.place.note);
  common.place_said = true;
}

}  // namespace

Study open_study(const Common& common, const std::string& options) {
  if (common.study.empty()) fail(Code::kUsage, "{}", common.place.problem);
  say_place(common);
  if (common.place.users) {
    const fs::path folder = fs::path(common.study).parent_path();
    std::error_code error;
    fs::create_directories(folder, error);
    if (error) {
      fail(Code::kWriteFailed,
           "cannot create the folder of the study, {}: {}; name another place with --study FILE or "
           "RAM_STUDY",
           folder.string(), error.message());
    }
  }
  Study study{fs::path(common.study)};
  study.set_options(options);
  return study;
}

std::optional<Study> open_existing_study(const Common& common) {
  std::error_code error;
  if (common.study.empty() || !fs::exists(common.study, error)) return std::nullopt;
  say_place(common);
  return std::optional<Study>(std::in_place, fs::path(common.study));
}

std::optional<Study> open_study_if_usable(const Common& common) {
  try {
    return open_existing_study(common);
  } catch (const Error& error) {
    if (!common.place.typed.empty() || error.code() == Code::kInterrupted) throw;
    note(common, fmt::format("continuing without the study: {}", error.what()));
    return std::nullopt;
  }
}

int64_t study_bytes(const Common& common) {
  int64_t bytes = 0;
  for (const char* ending : {"", "-wal"}) {
    std::error_code error;
    const uintmax_t size = fs::file_size(common.study + ending, error);
    if (!error) bytes += static_cast<int64_t>(size);
  }
  return bytes;
}

}  // namespace ram::cli
