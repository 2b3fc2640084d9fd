// Opens a study wherever it may be, and turns SQLite's result codes into Errors.
#include "sqlite.h"

#include <cerrno>
#include <chrono>
#include <cstring>
#include <new>
#include <system_error>
#include <thread>
#include <utility>

#include <unistd.h>

#include "ram/cancellation.h"
#include "ram/error.h"
#include "ram/file.h"
#include "ram/study_table.h"

namespace ram {
namespace {

namespace fs = std::filesystem;

constexpr int kSleepMs = 10;

bool interrupted() {
  try {
    check_interrupted();
    return false;
  } catch (const Error&) {
    return true;
  }
}

// Called by SQLite while another connection holds the lock. After Ctrl-C it still waits a little:
// measurements are worth keeping.
int wait_for_other(void* /*unused*/, int tries) {
  constexpr int kInterruptedTimeoutMs = 3'000;
  const int limit_ms = interrupted() ? kInterruptedTimeoutMs : kBusyTimeoutMs;
  if (tries >= limit_ms / kSleepMs) return 0;
  std::this_thread::sleep_for(std::chrono::milliseconds(kSleepMs));
  return 1;
}

bool is_busy(int rc) {
  const int primary = rc & 0xff;
  return primary == SQLITE_BUSY || primary == SQLITE_LOCKED || primary == SQLITE_PROTOCOL;
}

// A path as a URI for SQLite. @source https://www.sqlite.org/uri.html
std::string uri_of(const fs::path& path, std::string_view query) {
  std::string uri = "file:";
  for (const char c : path.string()) {
    if (c == '%' || c == '?' || c == '#') {
      uri += fmt::format("%{:02X}", static_cast<unsigned>(c));
    } else {
      uri += c;
    }
  }
  return uri.append("?").append(query);
}

// For some writes SQLite does not keep the errno.
std::string io_reason(int error_number) {
  return error_number != 0 ? std::strerror(error_number)
                           : "is the disk full, or the limit on file sizes too low (ulimit -f)?";
}

bool is_read_failure(int rc) {
  return rc == SQLITE_IOERR_READ || rc == SQLITE_IOERR_ACCESS || rc == SQLITE_IOERR_FSTAT;
}

}  // namespace

Database::Database(fs::path path) : path_(std::move(path)) {
  if (path_.empty()) {
    try {
      open(":memory:", SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    } catch (...) {
      sqlite3_close(handle_);
      throw;
    }
    return;
  }
  std::error_code error;
  const fs::file_status status = fs::status(path_, error);
  const bool exists = fs::exists(status);
  if (exists && !fs::is_regular_file(status)) {
    fail(Code::kMissing, "study {}: not a file; name one with --study", path_.string());
  }
  // If SQLite cannot open a log, it assumes that the folder cannot be written, and it opens the log
  // late. Descriptors are needed for the file, its log, the log's index, and one that is opened
  // briefly.
  constexpr int kFiles = 4;
  need_descriptors(kFiles);
  try {
    open(path_.string(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    open_readable();
  } catch (...) {
    sqlite3_close(handle_);
    throw;
  }
}

Database::~Database() {
  sqlite3_close(handle_);
}

void Database::open(const std::string& name, int flags) {
  const int rc = sqlite3_open_v2(name.c_str(), &handle_, flags | SQLITE_OPEN_EXRESCODE, nullptr);
  if (rc == SQLITE_OK) {
    sqlite3_busy_handler(handle_, wait_for_other, nullptr);
    return;
  }
  if (handle_ == nullptr) throw std::bad_alloc();
  if ((rc & 0xff) != SQLITE_CANTOPEN) fail_with(rc, "opening it");
  std::error_code error;
  const int system_error = sqlite3_system_errno(handle_);
  const char* reason = system_error != 0 ? std::strerror(system_error) : sqlite3_errmsg(handle_);
  if (fs::exists(path_, error)) {
    fail(Code::kMissing, "study {}: cannot be read: {}", path_.string(), reason);
  }
  // SQLite tries again read-only, and its last error is that of this attempt.
  const fs::path folder = path_.has_parent_path() ? path_.parent_path() : fs::path(".");
  if (access(folder.c_str(), W_OK | X_OK) != 0) reason = std::strerror(errno);
  fail(Code::kWriteFailed, "study {}: cannot be created: {}; name another place with --study",
       path_.string(), reason);
}

// Reads the file's header, which open alone does not. In a folder that cannot be written, a file in
// WAL mode can only be opened as immutable: with no other writers.
void Database::open_readable() {
  read_only_ = sqlite3_db_readonly(handle_, "main") == 1;
  const int rc =
      sqlite3_exec(handle_, "SELECT count(*) FROM sqlite_schema", nullptr, nullptr, nullptr);
  if (rc == SQLITE_OK) return;
  const int primary = rc & 0xff;
  if (primary == SQLITE_CANTOPEN || primary == SQLITE_READONLY) return open_immutable();
  fail_with(rc, "opening it");
}

void Database::open_immutable() {
  std::error_code error;
  const uintmax_t log_bytes = fs::file_size(path_.string() + "-wal", error);
  if (!error && log_bytes != 0) {
    fail(Code::kMissing,
         "study {}: its log (-wal) contains work that can be read only if the folder can be "
         "written; "
         "open it there once, or copy both files",
         path_.string());
  }
  sqlite3_close(handle_);
  handle_ = nullptr;
  open(uri_of(path_, "immutable=1"), SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
  read_only_ = true;
  exec("SELECT count(*) FROM sqlite_schema");
}

void Database::exec(const std::string& sql) {
  const int rc = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
  if (rc != SQLITE_OK) fail_with(rc, sql.substr(0, sql.find_first_of("\n;")));
}

void Database::exec_patiently(const std::string& sql) {
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    const int rc = sqlite3_exec(handle_, sql.c_str(), nullptr, nullptr, nullptr);
    if (rc == SQLITE_OK) return;
    const auto waited = std::chrono::steady_clock::now() - start;
    if (!is_busy(rc) || waited >= std::chrono::milliseconds(kBusyTimeoutMs) || interrupted()) {
      fail_with(rc, sql);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(kSleepMs));
  }
}

void Database::rollback() noexcept {
  if (sqlite3_get_autocommit(handle_) == 0) {
    sqlite3_exec(handle_, "ROLLBACK", nullptr, nullptr, nullptr);
  }
}

int64_t Database::number(const std::string& sql) {
  Study::Statement statement(*this, sql);
  if (!statement.step()) fail_with(SQLITE_CORRUPT, sql);
  const int64_t value = statement.number(0);
  statement.reset();
  return value;
}

void Database::fail_with(int rc, std::string_view doing) const {
  const std::string path = path_.string();
  const char* reason = sqlite3_errstr(rc);
  const char* detail = handle_ != nullptr ? sqlite3_errmsg(handle_) : reason;
  const int primary = rc & 0xff;
  if (primary == SQLITE_CANTOPEN || primary == SQLITE_IOERR) {
    const int error_number = handle_ != nullptr ? sqlite3_system_errno(handle_) : 0;
    if (error_number == EMFILE || error_number == ENFILE) {
      fail_errno(false, "cannot open files of the study", path, error_number);
    }
  }
  switch (primary) {
    case SQLITE_NOMEM:
      throw std::bad_alloc();
    case SQLITE_NOTADB:
      fail(Code::kCorrupt, "study {}: not a study ({}); name another with --study", path, reason);
    case SQLITE_CORRUPT:
    case SQLITE_ERROR:
    case SQLITE_MISMATCH:
      fail(
          Code::kCorrupt,
          "study {}: damaged ({}, while {}); remove it to measure again, or try sqlite3's .recover",
          path, detail, doing);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
      fail(Code::kWriteFailed, "study {}: locked by another program; run again when that is done",
           path);
    case SQLITE_FULL:
      fail(Code::kWriteFailed,
           "study {}: disk full; free some space and run again; earlier results are safe", path);
    case SQLITE_READONLY:
      fail(Code::kWriteFailed, "study {}: cannot be written; name another place with --study",
           path);
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      fail(Code::kMissing, "study {}: cannot be read ({})", path, detail);
    case SQLITE_IOERR:
      if (rc == SQLITE_IOERR_SHORT_READ || rc == SQLITE_IOERR_CORRUPTFS) {
        fail(Code::kCorrupt, "study {}: damaged ({})", path, reason);
      }
      fail(is_read_failure(rc) ? Code::kMissing : Code::kWriteFailed, "study {}: {}: {}", path,
           reason, io_reason(sqlite3_system_errno(handle_)));
    default:
      fail(Code::kInternal, "study {}: {} (code {}, while {})", path, detail, rc, doing);
  }
}

}  // namespace ram
