// POSIX implementation of file.h. All differences between Linux and Darwin are in this file.
#include "ram/file.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/file_fault.h"
#include "ram/scoped.h"
#include "ram/size.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

// Most bytes per call: some systems refuse 2 GiB and more at once.
constexpr size_t kLargestCall = size_t{1} << 30;

constexpr const char* kPartial = ".ram-partial";
constexpr const char* kEncoded = ".ram-encoded";

FileIdentity identity_of(const struct stat& info) {
#if defined(__APPLE__)
  const timespec mtime = info.st_mtimespec;
  const timespec ctime = info.st_ctimespec;
#else
  const timespec mtime = info.st_mtim;
  const timespec ctime = info.st_ctim;
#endif
  constexpr int64_t kNanoseconds = 1000000000;
  return {.size = static_cast<int64_t>(info.st_size),
          .mtime_ns = static_cast<int64_t>(mtime.tv_sec) * kNanoseconds + mtime.tv_nsec,
          .ctime_ns = static_cast<int64_t>(ctime.tv_sec) * kNanoseconds + ctime.tv_nsec,
          .inode = static_cast<uint64_t>(info.st_ino),
          .device = static_cast<uint64_t>(info.st_dev)};
}

void check_fault(FileStep step, const char* what, const fs::path& path) {
  const int error_number = file_fault(step, path);
  if (error_number != 0) fail_errno(true, what, path.string(), error_number);
}

void sync_descriptor(int fd, const fs::path& path) {
  check_fault(FileStep::kSync, "cannot make durable", path);
#if defined(__APPLE__)
  // fsync on Darwin leaves the data in the drive's cache.
  if (fcntl(fd, F_FULLFSYNC) == 0) return;
#endif
  if (fsync(fd) != 0) fail_errno(true, "cannot make durable", path.string(), errno);
}

void write_all(int fd, int64_t offset, std::span<const std::byte> bytes, const fs::path& path) {
  while (!bytes.empty()) {
    auto most = static_cast<int64_t>(std::min(bytes.size(), kLargestCall));
    const int fault = file_fault(FileStep::kWrite, path, most);
    if (fault != 0) fail_errno(true, "cannot write", path.string(), fault);
    const ssize_t written =
        pwrite(fd, bytes.data(), static_cast<size_t>(most), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail_errno(true, "cannot write", path.string(), written < 0 ? errno : ENOSPC);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += written;
  }
}

void reserve_blocks(int fd, int64_t size, const fs::path& path) {
  check_fault(FileStep::kReserve, "cannot reserve space for", path);
#if defined(__APPLE__)
  fstore_t store = {.fst_flags = F_ALLOCATEALL,
                    .fst_posmode = F_PEOFPOSMODE,
                    .fst_offset = 0,
                    .fst_length = static_cast<off_t>(size),
                    .fst_bytesalloc = 0};
  if (fcntl(fd, F_PREALLOCATE, &store) != 0 && errno == ENOSPC) {
    fail_errno(true, "cannot reserve space for", path.string(), ENOSPC);
  }
  if (ftruncate(fd, static_cast<off_t>(size)) != 0) {
    fail_errno(true, "cannot reserve space for", path.string(), errno);
  }
#else
  if (size == 0) return;
  const int error_number = posix_fallocate(fd, 0, static_cast<off_t>(size));
  // A file system that cannot reserve space can still be written to.
  if (error_number != 0 && error_number != EOPNOTSUPP && error_number != EINVAL) {
    fail_errno(true, "cannot reserve space for", path.string(), error_number);
  }
#endif
}

fs::path parent_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

// "NAME.0123456789abcdef.ram-tmp"; NAME is truncated if the whole would be too long for the system.
constexpr std::string_view kReplacementEnding = ".ram-tmp";
constexpr size_t kRandomDigits = 16;

std::string replacement_beginning(const fs::path& target) {
  constexpr int64_t kUsualLongest = 255;
  constexpr int64_t kRest = 1 + kRandomDigits + kReplacementEnding.size();
  int64_t longest = pathconf(parent_of(target).c_str(), _PC_NAME_MAX);
  if (longest <= kRest) longest = kUsualLongest;
  std::string name = target.filename().string();
  const auto most = static_cast<size_t>(longest - kRest);
  if (name.size() > most) {
    size_t end = most;
    // Not within a character: some file systems accept only well-formed UTF-8.
    while (end > 0 && (static_cast<unsigned char>(name[end]) & 0xc0) == 0x80) --end;
    name.resize(end > 0 ? end : most);
  }
  return name + ".";
}

std::string random_digits() {
  uint64_t value = 0;
  if (getentropy(&value, sizeof value) != 0) {
    // O_EXCL guarantees uniqueness; random digits make the first attempt likely to succeed.
    static std::atomic<uint64_t> count{0};
    value = static_cast<uint64_t>(getpid()) << 32 ^ ++count ^
            static_cast<uint64_t>(std::chrono::steady_clock::now().time_since_epoch().count());
  }
  return fmt::format("{:0{}x}", value, kRandomDigits);
}

bool is_replacement(std::string_view name, std::string_view beginning) {
  if (name.size() != beginning.size() + kRandomDigits + kReplacementEnding.size()) return false;
  return name.starts_with(beginning) && name.ends_with(kReplacementEnding) &&
         name.substr(beginning.size(), kRandomDigits).find_first_not_of("0123456789abcdef") ==
             std::string_view::npos;
}

/// Whether a name refers to the open file, which has no other name.
bool is_file_named(int fd, const fs::path& path) {
  struct stat opened = {};
  struct stat named = {};
  return fstat(fd, &opened) == 0 && lstat(path.c_str(), &named) == 0 && S_ISREG(opened.st_mode) &&
         opened.st_ino == named.st_ino && opened.st_dev == named.st_dev && opened.st_nlink == 1;
}

}  // namespace

InputFile::InputFile(fs::path path) : path_(std::move(path)) {
  // Non-blocking: a FIFO in place of a file must not hang the program.
  fd_ = open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd_ < 0) fail_errno(false, "cannot open", path_.string(), errno);
  struct stat info = {};
  const bool known = fstat(fd_, &info) == 0;
  if (!known || !S_ISREG(info.st_mode)) {
    const int error_number = errno;
    close(std::exchange(fd_, -1));
    if (!known) fail_errno(false, "cannot read", path_.string(), error_number);
    fail(Code::kMissing, "not a file: {}: expected a regular file", path_.string());
  }
  identity_ = identity_of(info);
}

InputFile::~InputFile() {
  if (fd_ >= 0) close(fd_);
}

InputFile::InputFile(InputFile&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      identity_(other.identity_) {}

void InputFile::read(int64_t offset, std::span<std::byte> out) const {
  const int64_t end = offset + static_cast<int64_t>(out.size());
  while (!out.empty()) {
    const ssize_t got =
        pread(fd_, out.data(), std::min(out.size(), kLargestCall), static_cast<off_t>(offset));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_errno(false, "cannot read", path_.string(), errno);
    if (got == 0) {
      fail(Code::kCorrupt, "{}: ends at byte {}, expected at least {}: fetch the file again",
           path_.string(), offset, end);
    }
    out = out.subspan(static_cast<size_t>(got));
    offset += got;
  }
}

void InputFile::prefetch(int64_t offset, int64_t length) const {
#if defined(__APPLE__)
  radvisory range = {
      .ra_offset = static_cast<off_t>(offset),
      .ra_count = static_cast<int>(std::min<int64_t>(length, std::numeric_limits<int>::max()))};
  (void)fcntl(fd_, F_RDADVISE, &range);
#else
  (void)posix_fadvise(fd_, static_cast<off_t>(offset), static_cast<off_t>(length),
                      POSIX_FADV_WILLNEED);
#endif
}

OutputFile::OutputFile(fs::path path) : path_(std::move(path)) {
  check_fault(FileStep::kCreate, "cannot create", path_);
  fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
  if (fd_ < 0) fail_errno(true, "cannot create", path_.string(), errno);
}

OutputFile::~OutputFile() {
  if (fd_ >= 0) close(fd_);
}

void OutputFile::reserve(int64_t size) {
  reserve_blocks(fd_, size, path_);
}

void OutputFile::write(int64_t offset, std::span<const std::byte> bytes) {
  write_all(fd_, offset, bytes, path_);
}

void OutputFile::finish() {
  sync_descriptor(fd_, path_);
  if (close(std::exchange(fd_, -1)) != 0) fail_errno(true, "cannot close", path_.string(), errno);
}

ReplacementFile::ReplacementFile(fs::path target) : target_(std::move(target)) {
  struct stat there = {};
  // Reported now, not after everything is written: only the temporary name is shortened.
  if (lstat(target_.c_str(), &there) != 0 && errno == ENAMETOOLONG) {
    fail_errno(true, "cannot create", target_.string(), ENAMETOOLONG);
  }
  const std::string beginning = replacement_beginning(target_);
  constexpr int kAttempts = 100;
  for (int i = 1;; ++i) {
    path_ =
        parent_of(target_) / fmt::format("{}{}{}", beginning, random_digits(), kReplacementEnding);
    check_fault(FileStep::kCreate, "cannot create", path_);
    fd_ = open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd_ < 0 && (errno != EEXIST || i == kAttempts)) {
      fail_errno(true, "cannot create", path_.string(), errno);
    }
    if (fd_ < 0) continue;
    const bool busy = flock(fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    // Before the lock was taken, another program may have removed the file as one of a dead
    // process.
    if ((!busy && is_file_named(fd_, path_)) || i == kAttempts) return;
    close(std::exchange(fd_, -1));
    unlink(path_.c_str());
  }
}

ReplacementFile::~ReplacementFile() {
  if (!path_.empty() && file_fault(FileStep::kRemove, path_) == 0) unlink(path_.c_str());
  if (fd_ >= 0) close(fd_);
}

void ReplacementFile::reserve(int64_t size) {
  reserve_blocks(fd_, size, path_);
}

void ReplacementFile::write(int64_t offset, std::span<const std::byte> bytes) {
  write_all(fd_, offset, bytes, path_);
}

void ReplacementFile::publish() {
  sync_descriptor(fd_, path_);
  // Closed last, since that releases the lock; errors of close were already reported by sync.
  rename_durably(path_, target_);
  path_.clear();
}

void remove_dead_replacements(const fs::path& target) noexcept {
  try {
    const std::string beginning = replacement_beginning(target);
    std::error_code ignored;
    std::vector<fs::path> found;
    for (fs::directory_iterator at(parent_of(target), ignored), end; !ignored && at != end;
         at.increment(ignored)) {
      if (is_replacement(at->path().filename().string(), beginning)) found.push_back(at->path());
    }
    for (const fs::path& path : found) {
      const int fd = open(path.c_str(), O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
      if (fd < 0) continue;
      if (flock(fd, LOCK_EX | LOCK_NB) == 0 && is_file_named(fd, path)) unlink(path.c_str());
      close(fd);
    }
  } catch (const std::exception&) {
    // No memory for names: the files stay.
  }
}

FileIdentity file_identity(const fs::path& path) {
  struct stat info = {};
  if (stat(path.c_str(), &info) != 0) fail_errno(false, "cannot read", path.string(), errno);
  return identity_of(info);
}

std::string read_text_file(const fs::path& path, int64_t max_bytes) {
  const InputFile file(path);
  if (file.size() > max_bytes) {
    fail(Code::kCorrupt, "{}: {} bytes, expected at most {}", path.string(), file.size(),
         max_bytes);
  }
  std::string text(static_cast<size_t>(file.size()), '\0');
  file.read(0, std::as_writable_bytes(std::span(text)));
  return text;
}

void write_file_atomic(const fs::path& path, std::string_view content) {
  ReplacementFile file(path);
  file.write(0, std::as_bytes(std::span(content)));
  file.publish();
}

void rename_durably(const fs::path& from, const fs::path& to) {
  check_fault(FileStep::kRename, "cannot rename to", to);
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    fail_errno(true, "cannot rename to", to.string(), errno);
  }
  sync_folder(parent_of(to));
}

bool exchange_durably(const fs::path& a, const fs::path& b) {
  const int fault = file_fault(FileStep::kExchange, b);
  if (fault == ENOTSUP) return false;
  if (fault != 0) fail_errno(true, "cannot exchange with " + a.string(), b.string(), fault);
#if defined(__APPLE__)
  const int result = renamex_np(a.c_str(), b.c_str(), RENAME_SWAP);
#else
  const int result = renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE);
#endif
  if (result != 0) {
    const int error_number = errno;
    if (error_number == EINVAL || error_number == ENOSYS || error_number == ENOTSUP ||
        error_number == EXDEV) {
      return false;
    }
    fail_errno(true, "cannot exchange with " + a.string(), b.string(), error_number);
  }
  sync_folder(parent_of(a));
  sync_folder(parent_of(b));
  return true;
}

void sync_folder(const fs::path& folder) {
  check_fault(FileStep::kSync, "cannot make durable", folder);
  const int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) fail_errno(true, "cannot open", folder.string(), errno);
  // Some file systems cannot sync a folder (EINVAL); nothing more can be done there.
  const int error_number = fsync(fd) == 0 ? 0 : errno;
  close(fd);
  if (error_number != 0 && error_number != EINVAL && error_number != ENOTSUP) {
    fail_errno(true, "cannot make durable", folder.string(), error_number);
  }
}

WorkFolders work_folders(const fs::path& out) {
  std::string hidden = ".";  // not by +, of which GCC 12 warns wrongly
  hidden += out.filename().string();
  return {.partial = out.parent_path() / (hidden + kPartial),
          .encoded = out.parent_path() / (hidden + kEncoded)};
}

bool is_work_folder(const fs::path& path) {
  const std::string name = path.filename().string();
  return name.starts_with('.') && (name.ends_with(kPartial) || name.ends_with(kEncoded));
}

void make_folder(const fs::path& folder) {
  check_fault(FileStep::kMakeFolder, "cannot create folder", folder);
  if (mkdir(folder.c_str(), 0777) == 0) return;
  const int error_number = errno;
  std::error_code error;
  if (error_number == EEXIST && fs::is_directory(folder, error)) return;
  fail_errno(true, "cannot create folder", folder.string(), error_number);
}

void remove_tree(const fs::path& path) noexcept {
  try {
    std::error_code ignored;
    if (fs::is_directory(fs::symlink_status(path, ignored))) {
      std::vector<fs::path> entries;  // the folder must not change while it is read
      for (const auto& entry : fs::directory_iterator(path, ignored)) {
        entries.push_back(entry.path());
      }
      for (const fs::path& entry : entries) remove_tree(entry);
    }
    if (file_fault(FileStep::kRemove, path) == 0) fs::remove(path, ignored);
  } catch (const std::exception&) {
    // No memory for names: the folder stays.
  }
}

void need_descriptors(int count) {
  std::vector<int> opened;
  const AtScopeExit close_all([&opened] {
    for (const int fd : opened) close(fd);
  });
  int error_number = 0;
  while (static_cast<int>(opened.size()) < count && error_number == 0) {
    opened.push_back(-1);
    opened.back() = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (opened.back() >= 0) continue;
    error_number = errno;
    opened.pop_back();
  }
  if (error_number == EMFILE || error_number == ENFILE) {
    const auto allowed = opened.size();
    fail_errno(false, "cannot open files",
               fmt::format("need to open {} more files, but the limit allows {}", count, allowed),
               error_number);
  }
}

bool lies_in(const fs::path& inner, const fs::path& outer) {
  const auto [end, ignored] = std::mismatch(outer.begin(), outer.end(), inner.begin(), inner.end());
  return end == outer.end();
}

int64_t free_bytes(const fs::path& path) {
  std::error_code ignored;
  fs::path place = fs::absolute(path, ignored);
  while (!fs::exists(place, ignored) && place.has_relative_path()) place = place.parent_path();
  struct statvfs info = {};
  if (statvfs(place.c_str(), &info) != 0) {
    fail_errno(true, "cannot read free space of", place.string(), errno);
  }
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

void raise_open_files_limit() {
  struct rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  // Darwin's kernel accepts no more than this, even if it reports no limit.
  constexpr rlim_t kMost = 10240;
  const rlim_t wanted = std::min(limit.rlim_max, kMost);
  if (limit.rlim_cur != RLIM_INFINITY && limit.rlim_cur < wanted) {
    limit.rlim_cur = wanted;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
  }
}

}  // namespace ram
