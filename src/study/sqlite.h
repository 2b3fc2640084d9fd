// A thin layer over SQLite's C interface: one connection, and every failure turned into an Error
// with a code. It knows no tables.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

#include <sqlite3.h>

namespace ram {

/// How long a program waits for another one that writes, in milliseconds.
inline constexpr int kBusyTimeoutMs = 60'000;

/// A connection. Not safe to use from two threads at a time; not to be used after a fork.
class Database {
 public:
  /// Opens for reading and writing, creating the file if missing; read-only if it cannot be
  /// written. Does not change an existing file.
  /// @throws Error{kMissing} unreadable; {kCorrupt} not an SQLite file; {kWriteFailed} cannot be
  ///         created, or the limit on open files is too low.
  /// @param path empty: in memory alone.
  explicit Database(std::filesystem::path path);
  ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  const std::filesystem::path& path() const { return path_; }
  bool read_only() const { return read_only_; }
  sqlite3* handle() const { return handle_; }

  /// Runs statements that return nothing of interest. @throws Error
  void exec(const std::string& sql);
  /// exec, retried for up to kBusyTimeoutMs while another program has a lock: for the few
  /// statements that SQLite's own waiting does not cover.
  void exec_patiently(const std::string& sql);
  /// @return the first column of the first row.
  int64_t number(const std::string& sql);
  /// @return the id of the last inserted row.
  int64_t last_row() const { return sqlite3_last_insert_rowid(handle_); }

  /// Begins a write transaction, as exec_patiently does: it waits for other writers here, where
  /// nothing can be lost, not in the middle of the transaction.
  void begin() { exec_patiently("BEGIN IMMEDIATE"); }
  void commit() { exec("COMMIT"); }
  /// Undoes everything written since begin; does nothing after commit. Never fails.
  void rollback() noexcept;

  /// Throws the Error for a result code; `doing` completes "while ...".
  [[noreturn]] void fail_with(int rc, std::string_view doing) const;

 private:
  void open(const std::string& name, int flags);
  void open_readable();
  void open_immutable();

  std::filesystem::path path_;
  sqlite3* handle_ = nullptr;
  bool read_only_ = false;
};

}  // namespace ram
