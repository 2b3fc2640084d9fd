// For tests: injects disk faults. Every step of file.h that changes a disk calls file_fault first,
// so that a test can fill the disk at byte N or end the process between any two steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>

namespace ram {

enum class FileStep : uint8_t {
  kCreate,      ///< of a file
  kReserve,     ///< of blocks
  kWrite,       ///< of bytes
  kSync,        ///< of a file or a folder
  kRename,      ///< of a file or a folder
  kExchange,    ///< of two folders; ENOTSUP: the system cannot
  kMakeFolder,  ///< one
  kRemove,      ///< of one file or empty folder
  kLock,        ///< of a file; ENOSYS: the file system has no locks
};

/// @param bytes to be written (kWrite), else 0; may be lowered to at least 1: this step then writes
///         only that many, and further steps the rest.
/// @return 0 to go on, or the errno that the step fails with. May also not return.
using FileFault =
    std::function<int(FileStep step, const std::filesystem::path& path, int64_t& bytes)>;

/// Sets the function that file_fault calls; none by default, and if it is empty. Not to be called
/// while another thread writes.
void set_file_fault(FileFault fault);

/// Calls it; for the sources of file.h. @return 0, or an errno.
int file_fault(FileStep step, const std::filesystem::path& path);
int file_fault(FileStep step, const std::filesystem::path& path, int64_t& bytes);

}  // namespace ram
