// Reads that bypass the system's cache. On Linux such reads must be aligned and do not use cached
// data; on Darwin neither applies.
#include <algorithm>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/size.h"

namespace ram {
namespace {

int open_past_cache(const std::filesystem::path& path) {
#if defined(__APPLE__)
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd >= 0) (void)fcntl(fd, F_NOCACHE, 1);
  return fd;
#else
  return open(path.c_str(), O_RDONLY | O_CLOEXEC | O_DIRECT);
#endif
}

// Whether all of a range is in the system's cache. The range is mapped for the query but never
// touched: a non-blocking read (RWF_NOWAIT) would tell too, but fill the cache. True if the system
// cannot tell, and for files that this user could not write: they are read through the cache.
bool is_cached(int fd, int64_t begin, int64_t size) {
#if defined(__APPLE__)
  (void)fd, (void)begin, (void)size;
  return false;
#else
  const auto length = static_cast<size_t>(size);
  void* range = mmap(nullptr, length, PROT_READ, MAP_SHARED, fd, static_cast<off_t>(begin));
  if (range == MAP_FAILED) return true;
  std::vector<unsigned char> pages(
      static_cast<size_t>(ceil_div(size, int64_t{sysconf(_SC_PAGESIZE)})));
  const bool known = mincore(range, length, pages.data()) == 0;
  munmap(range, length);
  return !known || std::all_of(pages.begin(), pages.end(),
                               [](unsigned char page) { return (page & 1U) != 0; });
#endif
}

}  // namespace

DirectReader::DirectReader(const InputFile& file)
    : file_(&file), fd_(open_past_cache(file.path())) {}

DirectReader::DirectReader(DirectReader&& other) noexcept
    : file_(other.file_), fd_(std::exchange(other.fd_, -1)) {}

DirectReader::~DirectReader() {
  if (fd_ >= 0) close(fd_);
}

const std::byte* DirectReader::read(int64_t offset, int64_t length,
                                    std::span<std::byte> room) const {
  RAM_CHECK(static_cast<int64_t>(room.size()) >= length + kSlackBytes);
  const int64_t before = offset % kAlignment;
  const int64_t begin = offset - before;
  const int64_t size = ceil_div(before + length, kAlignment) * kAlignment;
  if (fd_ >= 0 && !is_cached(fd_, begin, size)) {
    const ssize_t got =
        pread(fd_, room.data(), static_cast<size_t>(size), static_cast<off_t>(begin));
    if (got >= before + length) return room.data() + before;
  }
  // Cached, or direct reads failed after all. This call also reports errors of the file.
  file_->read(offset, room.first(static_cast<size_t>(length)));
  return room.data();
}

}  // namespace ram
