// A program with subcommands: from the command line to an exit status, and the completion scripts
// and manual pages that are made from the same table of commands and options.
//
// Hides the parser (CLI11), its messages, which files must not be overwritten, signals, and how
// every failure becomes one line. The caller implements the commands: each adds options
// (arguments.h), prints (console.h) and returns a status.
#pragma once

#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "ram/arguments.h"
#include "ram/console.h"

namespace ram::cli {

/// What a subcommand does once the command line is read. @return the exit status.
using Action = std::function<int()>;

struct Command {
  const char* name;
  const char* help;     ///< one line
  const char* example;  ///< one line that works as is
  /// Adds the subcommand's own options. The action refers to `common`, which outlives it.
  Action (*setup)(Arguments app, const Common& common);
};

/// A term and what it means.
template <typename Term>
struct Meaning {
  Term term;
  const char* text;
};

/// The description of a program.
struct Program {
  const char* summary;                                ///< "fits models into a budget"
  const char* example;                                ///< for the program's help
  std::span<const Command> commands;                  ///< in the order in which --help lists them
  std::span<const Meaning<int>> statuses;             ///< for the manual
  std::span<const Meaning<const char*>> environment;  ///< variables that it reads
};

/// Reads the command line, runs the subcommand, reports an error in one line on stderr and, with
/// --json, as a document on stdout.
/// @return the exit status: the action's, or the code of an error. Throws nothing.
int run(const Program& program, int argc, const char* const* argv, Io io = {});

/// The whole process: run(), where SIGINT, SIGTERM and SIGHUP ask the work to stop at a point where
/// nothing is lost (a second one, later, ends it at once), and with enough stack whatever the limit
/// on stacks.
/// @return the exit status. @pre called once, from main, before any thread is started.
int run_process(const Program& program, int argc, char** argv);

/// @param any the arguments of any command of the program.
/// @return the completion script of "bash", "zsh" or "fish"; nothing for another shell.
std::optional<std::string> completion_script(const Program& program, const Arguments& any,
                                             std::string_view shell);

/// @return the manual page, as man macros of roff. @param any as completion_script's.
std::string manual_page(const Program& program, const Arguments& any);

/// Statuses that are answers, besides the codes of errors.
inline constexpr int kDone = 0;
inline constexpr int kCheckFailed = 1;
inline constexpr int kBudgetTooSmall = 6;

}  // namespace ram::cli
