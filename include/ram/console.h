// What every subcommand uses: the common options, and the three kinds of output: the result on
// stdout, progress and notes on stderr. Part of the module `command_line`.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ram/json.h"
#include "ram/progress.h"

namespace ram::cli {

using Json = nlohmann::ordered_json;

/// Where the study is if --study does not say (study_place.h).
struct StudyPlace {
  std::string typed;    ///< as --study would name it, in commands shown to the user
  std::string path;     ///< empty: there is none, see `problem`
  std::string note;     ///< what a user should know about the choice; empty: nothing
  std::string problem;  ///< why there is no path, and what to do; empty: there is one
  bool users = false;   ///< in the user's data folder, which is created when first written to
};

/// Where a run reads and writes; tests put memory streams here.
struct Io {
  std::FILE* out = stdout;
  std::FILE* err = stderr;
  std::FILE* in = stdin;
  int (*interrupted)() = nullptr;  ///< the exit status of a stopped run; null: that of Ctrl-C
};

/// The stages of a command that has several, for its progress lines.
struct Stages {
  std::vector<std::string> names;
  size_t at = 0;  ///< index of the current one
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

struct Common {
  std::string study;     ///< its path; empty: none, see `place`
  StudyPlace place;      ///< of the study
  std::string memory;    ///< as typed; empty: no bound
  int thread_count = 0;  ///< 0: as many as there are processors
  uint64_t seed = 42;
  bool quiet = false;
  bool json = false;
  Io io;
  std::shared_ptr<Stages> stages = {};  ///< null: one stage
  std::string program = "ram";          ///< argv[0]
  /// Something was written to stdout: an error then prints no document.
  mutable bool result_begun = false;
  /// The reader of stdout is gone: further output is dropped.
  mutable bool reader_gone = false;
  mutable bool place_said = false;  ///< the note on the study's place was printed
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  mutable std::chrono::steady_clock::time_point shown = started;  ///< progress, in a log
};

/// @return the document of an error with --json: {"error": {"status", "message"}}.
std::string error_document(int status, const std::string& message,
                           std::optional<int64_t> min_safe_bytes = {});

/// Writes the result to stdout. Without --json it is for people: characters that could control a
/// terminal are replaced by U+FFFD (printable_lines). A reader that closed the pipe (SIGPIPE is
/// ignored) is no failure.
/// @throws Error{kWriteFailed}
void print_result(const Common& common, std::string_view text);

/// The same for data that must be written byte for byte: a file's content, decoded text.
void print_data(const Common& common, std::string_view text);

/// Writes a document to stdout, for --json. @throws as print_result
void print_document(const Common& common, const Json& document);

/// @return all of stdin, which may be a terminal without input.
/// @throws Error{kInterrupted}; {kMissing} it cannot be read; {kUsage} it has more than `most`
///         bytes; no more are read.
std::string read_input(const Common& common, int64_t most);

/// Writes to stderr. Failures are ignored.
void say(const Common& common, std::string_view text);

/// One printable line on stderr: "ram: note: ..."; nothing with --quiet.
void note(const Common& common, std::string_view text);

/// Begins a stage; does nothing if the command has no stage of that name.
void enter_stage(const Common& common, std::string_view name);

/// Shows the progress of long work on stderr: a live line on a terminal, otherwise a line every 10
/// s, however many phases the work has and however rarely it reports. The line ends with the time
/// that the command has taken so far; if a command has several stages, it begins with "stage 2 of
/// 5: ". It is cleared when the object is destroyed.
class ProgressLine {
 public:
  explicit ProgressLine(const Common& common);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// @return the function to pass to long work; it must not outlive this object.
  ProgressFn function();
  void clear();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// @return "analyze 43 %, 1.21 GB/s, 12 s left"; the rate and the remaining time only if they are
///         known.
/// @param seconds since the phase was at `start_bytes`.
std::string progress_text(const Progress& progress, int64_t start_bytes, double seconds);

/// Seconds between two lines of progress if stderr is not a terminal.
inline constexpr double kLogInterval = 10;

}  // namespace ram::cli
