// The only way to report failure. Modules throw Error; only command_line and cli print and exit.
//
// A message says what was found, what is allowed, where, and the next step, in one line:
// "group_size 48: use 32, 64 or 128 (plan.json, unit model.layers.3.mlp.down_proj)".
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

#include <fmt/core.h>

namespace ram {

/// What went wrong; the value is the program's exit status (the command line's contract).
/// 1 (a check failed) and 6 (the budget cannot be met) are answers, not errors.
enum class Code : int {
  kUsage = 2,        ///< the command line, or a plan edited by hand, requests something impossible
  kMissing = 3,      ///< an input does not exist or cannot be read
  kCorrupt = 4,      ///< an input is not what its format says
  kUnsupported = 5,  ///< well formed, but not handled here
  kWriteFailed = 7,  ///< disk full, read-only, or the write failed
  kInternal = 70,    ///< a broken invariant of the program (EX_SOFTWARE of sysexits.h)
  kInterrupted = 130,  ///< Ctrl-C; after SIGTERM the program exits with 143
};

/// @return "missing", "corrupt", ...: for messages and logs.
const char* code_name(Code code);

class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Code code() const { return code_; }

 private:
  Code code_;
};

/// Throws Error{code} with a formatted message (fmt syntax).
template <typename... Args>
[[noreturn]] void fail(Code code, fmt::format_string<Args...> format, Args&&... args) {
  throw Error(code, fmt::format(format, std::forward<Args>(args)...));
}

/// The only place where limits of the system become codes.
/// @param error_number errno of a call that failed.
/// @return kWriteFailed for a full disk, a quota, a file beyond its limit or a read-only place;
///         kUsage if memory or threads run out (the command line asks for too much); else kMissing,
///         or kWriteFailed when `writing`.
Code code_of_errno(bool writing, int error_number);

/// @return any exception as an Error with a message for people: an Error unchanged, the standard
///         library's exceptions for limits of the system by code_of_errno, all others as a defect
///         of the program.
Error as_error(const std::exception& exception);

/// Throws Error{code_of_errno(writing, error_number)} after a failed system call. The message is
/// "<what>: <path>: <strerror>", and what to do if the limit is known.
[[noreturn]] void fail_errno(bool writing, const std::string& what, const std::string& path,
                             int error_number);

[[noreturn]] void check_failed(const char* condition, const char* file, int line);

}  // namespace ram

/// Checks an invariant of the program, in release builds too. Never for input: check input with
/// fail().
#define RAM_CHECK(condition) \
  ((condition) ? static_cast<void>(0) : ::ram::check_failed(#condition, __FILE__, __LINE__))
