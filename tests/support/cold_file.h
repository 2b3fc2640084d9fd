// A file as it is before anybody has read it.
#pragma once

#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

namespace ram::testing {

/// Asks the system to forget what it has of a file in memory. It may not be able to; the content
/// stays what it is.
inline void drop_from_cache(const std::filesystem::path& path) {
#if defined(__linux__)
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);  // only what is on the disk can be forgotten
  (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
#else
  (void)path;
#endif
}

}  // namespace ram::testing
