// What every subcommand gets: the options that all of them take, and the three ways to speak:
// the result on stdout, progress and notes on stderr. Part of the module `command_line`.
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

/// Where the study is, when nobody says so (study_place.h).
struct StudyPlace {
  std::string typed;    ///< what --study says, for commands that are named to a user
  std::string path;     ///< empty: there is no place, see `problem`
  std::string note;     ///< what a user should know of the choice; empty: nothing
  std::string problem;  ///< why there is no place, and what to do; empty: there is one
  bool users = false;   ///< in the user's data folder, which is created when it is written to
};

/// Where a run reads and writes; tests put memory streams here.
struct Io {
  std::FILE* out = stdout;
  std::FILE* err = stderr;
  std::FILE* in = stdin;
  int (*interrupted)() = nullptr;  ///< the exit status of a run that is stopped; null: of Ctrl-C
};

/// The stages of a command that has several, for its progress lines.
struct Stages {
  std::vector<std::string> names;
  size_t at = 0;  ///< index of the one that is on
  std::chrono::steady_clock::time_point start = std::chrono::steady_clock::now();
};

struct Common {
  std::string study;     ///< where it is; empty: nowhere, see `place`
  StudyPlace place;      ///< of the study
  std::string memory;    ///< as typed; empty: no bound
  int thread_count = 0;  ///< 0: as many as there are processors
  uint64_t seed = 42;
  bool quiet = false;
  bool json = false;
  Io io;
  std::shared_ptr<Stages> stages = {};  ///< null: one stage
  std::string program = "ram";          ///< argv[0]
  /// Something was written to stdout: an error is no document of its own then.
  mutable bool result_begun = false;
  /// Nobody reads stdout any more: what is still to be written is not needed.
  mutable bool reader_gone = false;
  mutable bool place_said = false;  ///< the note on the study's place
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();
  mutable std::chrono::steady_clock::time_point shown = started;  ///< progress, on a log
};

/// @return the document of an error with --json: {"error": {"status", "message"}}.
std::string error_document(int status, const std::string& message,
                           std::optional<int64_t> min_safe_bytes = {});

/// Writes the result to stdout. Without --json it is for people: what could steer a terminal comes
/// out as U+FFFD (printable_lines). A reader that went away (SIGPIPE is ignored) is no failure.
/// @throws Error{kWriteFailed}
void print_result(const Common& common, std::string_view text);

/// The same for what is data and must come out byte for byte: a file's content, decoded text.
void print_data(const Common& common, std::string_view text);

/// Writes a document to stdout, as --json has it. @throws as print_result
void print_document(const Common& common, const Json& document);

/// @return all of stdin, which may be a terminal at which nobody types.
/// @throws Error{kInterrupted}; {kMissing} it cannot be read; {kUsage} it has more than `most`
/// bytes,
///         of which no more are read.
std::string read_input(const Common& common, int64_t most);

/// Writes to stderr. If that fails there is nobody to tell.
void say(const Common& common, std::string_view text);

/// One printable line on stderr: "ram: note: ..."; nothing with --quiet.
void note(const Common& common, std::string_view text);

/// Says which stage is on from here; nothing where the command has no stage of that name.
void enter_stage(const Common& common, std::string_view name);

/// Shows how far long work is on stderr: a live line on a terminal, elsewhere a line every 10 s,
/// however many phases the work has and however seldom it reports. It ends with what the command
/// took so far; where a command has several stages it begins with "stage 2 of 5: ". The line is
/// cleared when the object goes.
class ProgressLine {
 public:
  explicit ProgressLine(const Common& common);
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// @return the function to hand to long work; it may outlive nothing of this object.
  ProgressFn function();
  void clear();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// @return "analyze 43 %, 1.21 GB/s, 12 s left"; the rate and the rest only where they are known.
/// @param seconds since `start_bytes` of the phase were done.
std::string progress_text(const Progress& progress, int64_t start_bytes, double seconds);

/// Seconds between two lines of progress where stderr is no terminal.
inline constexpr double kLogInterval = 10;

}  // namespace ram::cli
