// Error codes' names and the throwing ends of error.h.
#include "ram/error.h"

#include <cerrno>
#include <cstring>

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

void fail_errno(bool writing, const std::string& what, const std::string& path, int error_number) {
  const bool full = error_number == ENOSPC || error_number == EDQUOT;
  fail(writing ? Code::kWriteFailed : Code::kMissing, "{}: {}: {}{}", what, path,
       std::strerror(error_number),
       full ? " (free some space and run the same command again)" : "");
}

void check_failed(const char* condition, const char* file, int line) {
  fail(Code::kInternal, "defect in ram: {} does not hold ({}:{}); please report it", condition,
       file, line);
}

}  // namespace ram
