// The hook for tests: see file_fault.h.
#include "ram/file_fault.h"

#include <utility>

namespace ram {
namespace {

FileFault& current() {
  static FileFault fault;
  return fault;
}

}  // namespace

void set_file_fault(FileFault fault) {
  current() = std::move(fault);
}

int file_fault(FileStep step, const std::filesystem::path& path, int64_t& bytes) {
  const FileFault& fault = current();
  return fault ? fault(step, path, bytes) : 0;
}

int file_fault(FileStep step, const std::filesystem::path& path) {
  int64_t none = 0;
  return file_fault(step, path, none);
}

}  // namespace ram
