#include "ram/outputs.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <optional>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ram/cancellation.h"
#include "ram/checkpoint.h"
#include "ram/error.h"
#include "ram/file.h"

namespace ram::cli {
namespace {

namespace fs = std::filesystem;

// Linux's limit; more links mean a loop.
constexpr int kMostLinks = 40;
constexpr std::chrono::seconds kReaderTimeout{10};

bool there(const fs::path& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

bool is_folder(const fs::path& path) {
  std::error_code ignored;
  return fs::is_directory(path, ignored);
}

// False for missing and regular files.
bool is_special(const fs::path& path) {
  std::error_code ignored;
  const fs::file_status status = fs::status(path, ignored);
  return fs::exists(status) && !fs::is_regular_file(status) && !fs::is_directory(status);
}

fs::path real(const fs::path& path) {
  std::error_code error;
  fs::path whole = fs::weakly_canonical(fs::absolute(path, error), error);
  if (error) whole = fs::absolute(path, error).lexically_normal();
  return whole.has_filename() ? whole : whole.parent_path();
}

// Compares device and inode if both exist, so that links and spellings make no difference.
bool same_file(const fs::path& a, const fs::path& b) {
  std::error_code error;
  if (fs::equivalent(a, b, error)) return true;
  return real(a) == real(b);
}

/// As lies_in of the resolved paths, where links and spellings make no difference.
bool is_inside(const fs::path& inner, const fs::path& outer) {
  for (fs::path place = real(inner); !place.empty(); place = place.parent_path()) {
    if (same_file(place, outer)) return true;
    if (place == place.root_path()) break;
  }
  return false;
}

std::vector<fs::path> files_in(const fs::path& folder) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(folder, error)) {
    if (!entry.is_directory(error)) files.push_back(entry.path());
  }
  return files;
}

bool is_model_folder(const fs::path& folder) {
  if (!there(folder / "config.json")) return false;
  const std::vector<fs::path> files = files_in(folder);
  return std::any_of(files.begin(), files.end(), [](const fs::path& file) {
    const std::string name = file.filename().string();
    return name.starts_with("model") && name.find(".safetensors") != std::string::npos;
  });
}

bool lies_in_work_folder(const fs::path& path) {
  for (fs::path place = real(path); place != place.root_path(); place = place.parent_path()) {
    if (is_work_folder(place)) return true;
    if (place.empty()) break;
  }
  return false;
}

struct Input {
  std::string option;
  fs::path path;  ///< of a model: its folder
  Takes takes;
  std::vector<fs::path> files;
};

std::vector<Input> inputs_of(std::span<const PathArgument> paths) {
  std::vector<Input> inputs;
  for (const PathArgument& given : paths) {
    if (given.path.empty()) continue;
    Input input = {.option = given.option, .path = given.path, .takes = given.takes, .files = {}};
    switch (given.takes) {
      case Takes::kModel:
        try {
          input.path = find_model(given.path);
        } catch (const Error&) {
          continue;  // the command has a better message
        }
        break;
      case Takes::kPlan:
        if (is_folder(given.path)) input.path /= "plan.json";
        break;
      case Takes::kFolder:
      case Takes::kFile:
        break;
      default:
        continue;
    }
    if (is_folder(input.path)) {
      input.files = files_in(input.path);
    } else {
      input.files = {input.path};
    }
    inputs.push_back(std::move(input));
  }
  return inputs;
}

std::vector<fs::path> study_files(const std::string& study) {
  if (study.empty()) return {};
  const fs::path file = output_target(study);
  std::vector<fs::path> files;
  for (const char* ending : {"", "-wal", "-shm", "-journal"})
    files.emplace_back(file.string() + ending);
  return files;
}

struct Written {
  Content content;
  const char* name;  // "X is {}"
  std::string_view begins;
};

constexpr std::array<Written, 4> kWritten = {{
    {Content::kCurves, "a table of curves", "unit,role,tensors,weights,format,bytes,"},
    {Content::kPlan, "a plan", "{\n  \"ram_plan\""},
    {Content::kPage, "a web page", "<!DOCTYPE html>"},
    {Content::kPrompts, "a list of questions", "{\"task\":\""},
}};

struct Found {
  std::optional<Content> content;  // nothing: from another program
  std::string name;
};

// The content of an existing file, as far as it matters: another study, or the output of another
// command. A file that cannot be read may contain anything.
std::optional<Found> recognize(const fs::path& file) {
  constexpr int64_t kHead = 64;
  std::string head;
  try {
    const InputFile input(file);
    head.resize(static_cast<size_t>(std::min(kHead, input.size())));
    input.read(0, std::as_writable_bytes(std::span(head)));
  } catch (const Error& error) {
    if (!there(file)) return std::nullopt;
    return Found{{}, fmt::format("not to be read, so its content is unknown ({})", error.what())};
  }
  using namespace std::string_view_literals;
  if (head.starts_with("SQLite format 3\0"sv)) return Found{{}, "an SQLite database, like a study"};
  for (const Written& written : kWritten) {
    if (head.starts_with(written.begins)) return Found{written.content, written.name};
  }
  // safetensors: eight bytes of length, then a JSON object.
  const bool tensors = head.size() > 10 && head[8] == '{' && head[9] == '"' && head[7] == '\0';
  if (tensors) return Found{Content::kLogits, "a safetensors file"};
  return std::nullopt;
}

// A journal of another study.
bool is_journal(const fs::path& file) {
  const std::string name = file.string();
  for (const std::string_view ending : {"-wal", "-shm", "-journal"}) {
    if (!name.ends_with(ending)) continue;
    const std::optional<Found> found = recognize(name.substr(0, name.size() - ending.size()));
    if (found && !found->content) return true;
  }
  return false;
}

[[noreturn]] void refuse(const PathArgument& output, const std::string& what) {
  fail(Code::kUsage, "{} {}: {}; nothing was touched, name another place", output.option,
       output.path, what);
}

void check_writable(const PathArgument& output, const fs::path& target) {
  const bool special = is_special(target);
  if (special && output.content == Content::kLogits) {
    fail(Code::kUsage,
         "{} {}: not a regular file, and logits are not written in order: name a file",
         output.option, output.path);
  }
  if (there(target) && access(target.c_str(), W_OK) != 0) {
    fail_errno(true, "cannot write", output.path, errno);
  }
  if (special) return;
  const fs::path parent = fs::absolute(target).parent_path();
  if (access(parent.c_str(), W_OK | X_OK) != 0) {
    fail_errno(true, "cannot write into the folder of the output", parent.string(), errno);
  }
}

void check_stdout(const Common& common, const PathArgument& output) {
  if (output.content == Content::kLogits) {
    fail(Code::kUsage, "{} -: logits are not written in order: name a file", output.option);
  }
  // A plan is the one JSON document of its command already.
  if (!common.json || output.content == Content::kPlan) return;
  fail(Code::kUsage, "{} - and --json both need stdout: give {} a file", output.option,
       output.option);
}

void check_file(const Common& common, const PathArgument& output, std::span<const Input> inputs,
                std::span<const fs::path> study) {
  if (output.path.empty()) fail(Code::kUsage, "{}: no name is given", output.option);
  if (output.path == "-") return check_stdout(common, output);
  const fs::path target = output_target(output.path);
  if (is_folder(target) || !target.has_filename()) {
    fail(Code::kUsage, "{} {} is a folder: name a file", output.option, output.path);
  }
  for (const fs::path& file : study) {
    if (!same_file(file, target)) continue;
    refuse(output, same_file(study.front(), target) ? "this is the study"
                                                    : "this is part of the study " + common.study);
  }
  for (const Input& input : inputs) {
    const bool read = std::any_of(input.files.begin(), input.files.end(),
                                  [&](const fs::path& file) { return same_file(file, target); });
    if (read) refuse(output, fmt::format("the same command reads it ({})", input.option));
    const bool model = input.takes == Takes::kModel && is_folder(input.path);
    if (model && is_inside(target, input.path)) {
      refuse(output, fmt::format("it is in the folder of the model {}", input.path.string()));
    }
  }
  if (!is_special(target)) {
    const fs::path folder = fs::absolute(target).parent_path();
    if (is_model_folder(folder)) {
      refuse(output, fmt::format("{} is a model's folder", folder.string()));
    }
    if (is_journal(target)) refuse(output, "it is part of an SQLite database");
    if (lies_in_work_folder(target)) refuse(output, "an unfinished run keeps its work there");
    const std::optional<Found> found = recognize(target);
    if (found && found->content != output.content) {
      refuse(output, fmt::format("it is {}", found->name));
    }
  }
  check_writable(output, target);
}

void check_folder(const PathArgument& output, std::span<const Input> inputs,
                  std::span<const fs::path> study) {
  if (output.path.empty()) fail(Code::kUsage, "{}: no name is given", output.option);
  const fs::path folder = output_target(output.path);
  if (there(folder) && !is_folder(folder)) {
    fail(Code::kUsage, "{} {} is not a folder: give another name", output.option, output.path);
  }
  if (lies_in_work_folder(folder)) refuse(output, "an unfinished run keeps its work there");
  // Other files in a folder of output folders are left alone.
  const bool whole = output.takes == Takes::kOutputFolder;
  // A run empties the work folders beside each of them, so inputs there would be lost.
  const WorkFolders work = work_folders(real(folder));
  const auto is_emptied = [&](const fs::path& file) {
    if (whole) return is_inside(file, work.partial) || is_inside(file, work.encoded);
    return is_inside(file, folder) && lies_in_work_folder(file);
  };
  const auto goes_with_it = [&](const fs::path& file) {
    return is_emptied(file) ||
           (is_inside(file, folder) && (whole || !same_file(real(file).parent_path(), folder)));
  };
  if (!study.empty() && goes_with_it(study.front())) {
    refuse(output, fmt::format("the study {} is in it", study.front().string()));
  }
  for (const Input& input : inputs) {
    if (is_emptied(input.path)) {
      refuse(output, fmt::format("{} is in a work folder of its runs", input.path.string()));
    }
    if (input.takes == Takes::kPlan) continue;  // read before the folder is written
    if (input.takes == Takes::kModel) {
      // The build's own check also follows the links of a cache.
      if (is_folder(input.path) && is_inside(folder, input.path)) {
        refuse(output, fmt::format("it is inside the source {}", input.path.string()));
      }
      if (whole && is_inside(input.path, folder)) {
        refuse(output, fmt::format("the source {} is inside it", input.path.string()));
      }
      continue;
    }
    if (goes_with_it(input.path)) {
      refuse(output, fmt::format("{} {} is in it", input.option, input.path.string()));
    }
  }
}

// A device or a FIFO.
void write_in_place(const fs::path& path, std::string_view text) {
  int fd = -1;
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    // Non-blocking: a FIFO without a reader must not block the program for ever.
    fd = open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
    if (fd >= 0 || errno != ENXIO) break;
    check_interrupted();
    if (std::chrono::steady_clock::now() - start > kReaderTimeout) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
  if (fd < 0) fail_errno(true, "cannot open", path.string(), errno);
  fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  int error = 0;
  while (!text.empty() && error == 0) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<size_t>(written));
    } else if (written == 0 || errno != EINTR) {
      error = written == 0 ? ENOSPC : errno;
    }
  }
  if (close(fd) != 0 && error == 0) error = errno;
  if (error != 0) fail_errno(true, "cannot write", path.string(), error);
}

}  // namespace

fs::path output_target(const std::string& path) {
  fs::path target = path;
  std::error_code error;
  for (int i = 0; i < kMostLinks; ++i) {
    // Only the system can resolve the link of a descriptor (/dev/fd/63).
    if (!fs::is_symlink(fs::symlink_status(target, error)) || is_special(target)) return target;
    const fs::path next = fs::read_symlink(target, error);
    if (error) break;
    target = target.parent_path() / next;  // an absolute path replaces it
  }
  fail(Code::kUsage, "{}: symbolic links form a loop: give another name", path);
}

void check_outputs(const Common& common, std::span<const PathArgument> paths) {
  const std::vector<Input> inputs = inputs_of(paths);
  const std::vector<fs::path> study = study_files(common.study);
  for (const PathArgument& output : paths) {
    if (output.takes == Takes::kOutputFile) check_file(common, output, inputs, study);
    if (output.takes == Takes::kOutputFolder || output.takes == Takes::kOutputFolders) {
      check_folder(output, inputs, study);
    }
  }
  for (size_t i = 0; i < paths.size(); ++i) {
    for (size_t j = 0; j < paths.size(); ++j) {
      const PathArgument& file = paths[i];
      const PathArgument& other = paths[j];
      if (i == j || file.takes != Takes::kOutputFile || file.path == "-" || other.path == "-")
        continue;
      const bool both = other.takes == Takes::kOutputFile &&
                        same_file(output_target(file.path), output_target(other.path));
      const bool inside =
          other.takes == Takes::kOutputFolder && is_inside(output_target(file.path), other.path);
      if (both || inside) refuse(file, fmt::format("{} is also written there", other.option));
    }
  }
  // The study is written to, too.
  for (const Input& input : inputs) {
    if (study.empty() || input.takes == Takes::kModel) continue;
    for (const fs::path& file : input.files) {
      if (!same_file(file, study.front())) continue;
      fail(Code::kUsage, "--study {}: the same command reads it ({}); name another file",
           common.study, input.option);
    }
  }
}

void write_output(const Common& common, const std::string& path, const std::string& text) {
  if (path == "-") return print_data(common, text);
  const fs::path target = output_target(path);
  if (is_special(target)) return write_in_place(target, text);
  write_file_atomic(target, text);
}

}  // namespace ram::cli
