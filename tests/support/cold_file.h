// A file that is not in the page cache.
#pragma once

#include <filesystem>

#include <fcntl.h>
#include <unistd.h>

namespace ram::testing {

/// Asks the system to drop a file from the page cache. It may not be able to; the content is
/// unchanged.
inline void drop_from_cache(const std::filesystem::path& path) {
#if defined(__linux__)
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);  // only data on the disk can be dropped
  (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
#else
  (void)path;
#endif
}

}  // namespace ram::testing
