// Names of error codes, and the functions of error.h that throw.
#include "ram/error.h"

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <new>
#include <system_error>

namespace ram {

const char* code_name(Code code) {
  switch (code) {
    case Code::kUsage:
      return "usage";
    case Code::kMissing:
      return "missing";
    case Code::kCorrupt:
      return "corrupt";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kWriteFailed:
      return "write failed";
    case Code::kInternal:
      return "internal";
    case Code::kInterrupted:
      return "interrupted";
  }
  return "unknown";
}

namespace {

/// Advice for an errno, to be appended to its message.
const char* advice(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
      return " (free some space and run the same command again)";
    case EFBIG:
      return " (above the limit on file sizes: ulimit -f, or the file system's)";
    case EMFILE:
    case ENFILE:
      return " (raise the limit on open files, as with ulimit -n 4096)";
    case ENOMEM:
      return " (not enough memory: use fewer --threads or less --memory)";
    case EAGAIN:
      return " (cannot start another thread: use fewer --threads, or raise the limit, ulimit -u)";
    default:
      return "";
  }
}

}  // namespace

Code code_of_errno(bool writing, int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EFBIG:
    case EROFS:
      return Code::kWriteFailed;
    case ENOMEM:
    case EAGAIN:
      return Code::kUsage;
    default:
      return writing ? Code::kWriteFailed : Code::kMissing;
  }
}

Error as_error(const std::exception& exception) {
  if (const auto* error = dynamic_cast<const Error*>(&exception)) return *error;
  if (dynamic_cast<const std::bad_alloc*>(&exception) != nullptr) {
    return Error(Code::kUsage, "not enough memory: use fewer --threads or less --memory");
  }
  if (const auto* error = dynamic_cast<const std::filesystem::filesystem_error*>(&exception)) {
    const int number = error->code().value();
    return Error(code_of_errno(false, number),
                 fmt::format("file system: {}: {}{}", error->path1().string(),
                             error->code().message(), advice(number)));
  }
  if (const auto* error = dynamic_cast<const std::system_error*>(&exception)) {
    const int number = error->code().value();
    const bool system = error->code().category() == std::generic_category() ||
                        error->code().category() == std::system_category();
    if (system) {
      return Error(code_of_errno(false, number),
                   fmt::format("{}{}", error->what(), advice(number)));
    }
  }
  return Error(Code::kInternal,
               fmt::format("defect in ram: {}; please report it", exception.what()));
}

void fail_errno(bool writing, const std::string& what, const std::string& path, int error_number) {
  fail(code_of_errno(writing, error_number), "{}: {}: {}{}", what, path,
       std::strerror(error_number), advice(error_number));
}

void check_failed(const char* condition, const char* file, int line) {
  fail(Code::kInternal, "defect in ram: {} does not hold ({}:{}); please report it", condition,
       file, line);
}

}  // namespace ram
