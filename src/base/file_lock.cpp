// Locks: flock if the file system supports it, else a file that names its holder. See file.h.
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "ram/error.h"
#include "ram/file.h"
#include "ram/file_fault.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

bool has_no_locks(int error_number) {
  switch (error_number) {
    case ENOSYS:
    case ENOLCK:
    case EOPNOTSUPP:
#if ENOTSUP != EOPNOTSUPP  // equal on Linux
    case ENOTSUP:
#endif
      return true;
    default:
      return false;
  }
}

fs::path held_path(const fs::path& lock) {
  return lock.string() + ".held";
}

/// Only the process that created this file may remove a dead holder's lock file.
fs::path guard_path(const fs::path& lock) {
  return lock.string() + ".guard";
}

int create_new(const fs::path& path, int access) {
  return open(path.c_str(), access | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
}

/// When a process started, in the system's unit: process ids are reused. Empty if not known.
std::string start_of(pid_t process) {
#if defined(__linux__)
  // The 22nd field; the second, in parentheses, may contain spaces.
  std::ifstream file(fmt::format("/proc/{}/stat", process));
  std::string line;
  std::getline(file, line);
  size_t at = line.rfind(')');
  constexpr int kFieldsAfterName = 20;
  for (int i = 0; i < kFieldsAfterName && at != std::string::npos; ++i) at = line.find(' ', at + 1);
  if (at == std::string::npos) return "";
  return line.substr(at + 1, line.find(' ', at + 1) - at - 1);
#else
  (void)process;
  return "";
#endif
}

struct Holder {
  std::string machine;
  pid_t process = 0;
  std::string start;
};

std::string this_machine() {
  struct utsname system = {};
  return uname(&system) == 0 ? system.nodename : "";
}

std::string render(const Holder& holder) {
  return fmt::format("{}\n{}\n{}\n", holder.machine, holder.process, holder.start);
}

/// @return the holder named in a lock's file; process 0 if it names none (yet).
Holder read_holder(const fs::path& path) {
  Holder holder;
  std::ifstream file(path);
  std::string process;
  std::getline(file, holder.machine);
  std::getline(file, process);
  std::getline(file, holder.start);
  std::from_chars(process.data(), process.data() + process.size(), holder.process);
  return holder;
}

bool is_dead(const Holder& holder) {
  if (holder.process <= 0 || holder.machine.empty() || holder.machine != this_machine()) {
    return false;
  }
  if (kill(holder.process, 0) != 0 && errno == ESRCH) return true;
  const std::string start = start_of(holder.process);
  return !start.empty() && !holder.start.empty() && start != holder.start;
}

}  // namespace

FileLock::FileLock(const fs::path& path, std::string_view busy) : path_(path) {
  for (;;) {
    const int fault = file_fault(FileStep::kCreate, path);
    if (fault != 0) fail_errno(true, "cannot create", path.string(), fault);
    fd_ = create_new(path, O_RDWR);
    const bool made = fd_ >= 0;
    if (!made && errno == EEXIST) fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd_ < 0) fail_errno(true, "cannot create", path.string(), errno);
    int error_number = file_fault(FileStep::kLock, path);
    if (error_number == 0 && flock(fd_, LOCK_EX | LOCK_NB) != 0) error_number = errno;
    if (error_number != 0) {
      close(std::exchange(fd_, -1));
      if (error_number == EWOULDBLOCK) fail(Code::kUsage, "{}", busy);
      if (has_no_locks(error_number)) {
        take_softly(busy);
        return;
      }
      if (error_number == EINTR) continue;
      if (made) unlink(path.c_str());  // a file that existed may be locked by its holder
      fail_errno(true, "cannot lock", path.string(), error_number);
    }
    // ".held" files are ignored: either all programs of a machine have flock here or none has, and
    // the user was told about other machines (Staging::soft).
    // The previous holder may have removed the file between open and lock: then the locked file has
    // no name, and no other program would ever see this lock.
    struct stat locked = {};
    struct stat named = {};
    if (fstat(fd_, &locked) == 0 && stat(path.c_str(), &named) == 0 &&
        locked.st_ino == named.st_ino && locked.st_dev == named.st_dev) {
      return;
    }
    close(std::exchange(fd_, -1));
  }
}

void FileLock::take_softly(std::string_view busy) {
  const fs::path held = held_path(path_);
  const fs::path guard = guard_path(path_);
  // Before the file exists: what cannot be written for want of memory would stay there empty.
  const std::string text =
      render({.machine = this_machine(), .process = getpid(), .start = start_of(getpid())});
  constexpr int kAttempts = 3;
  for (int i = 0; i < kAttempts; ++i) {
    const int fd = create_new(held, O_WRONLY);
    if (fd >= 0) {
      const ssize_t written = write(fd, text.data(), text.size());
      const int error_number = written < 0 ? errno : ENOSPC;
      close(fd);
      if (written == std::ssize(text)) {
        soft_ = true;
        return;
      }
      unlink(held.c_str());
      fail_errno(true, "cannot lock", path_.string(), error_number);
    }
    if (errno != EEXIST) fail_errno(true, "cannot lock", path_.string(), errno);
    if (!is_dead(read_holder(held))) {
      fail(Code::kUsage, "{} (if none is, remove {})", busy, held.string());
    }
    const int guarding = create_new(guard, O_WRONLY);
    if (guarding < 0 && errno != EEXIST) {
      fail_errno(true, "cannot lock", path_.string(), errno);
    }
    if (guarding < 0) fail(Code::kUsage, "{} (if none is, remove {})", busy, guard.string());
    close(guarding);
    // Read again: another process may have taken it over before the guard was created.
    if (is_dead(read_holder(held))) unlink(held.c_str());
    unlink(guard.c_str());
  }
  fail(Code::kUsage, "{}", busy);
}

bool FileLock::is_file_of(const fs::path& lock, const fs::path& file) {
  const fs::path name = file.filename();
  return name == lock.filename() || name == held_path(lock).filename() ||
         name == guard_path(lock).filename();
}

void FileLock::remove_file() {
  if (soft_) {
    unlink(held_path(path_).c_str());
    soft_ = false;
  }
  unlink(path_.c_str());
}

FileLock::~FileLock() {
  if (soft_) unlink(held_path(path_).c_str());
  if (fd_ >= 0) close(fd_);
}

}  // namespace ram
