// A thin layer over SQLite's C interface: one connection, its statements and transactions, and
// every failure turned into an Error with a code. Knows no table.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include <sqlite3.h>

namespace ram {

/// How long a program waits for another that writes, milliseconds.
inline constexpr int kBusyTimeoutMs = 60'000;

/// A connection. Not safe to use from two threads at a time; not to be used after a fork.
class Database {
 public:
  /// Opens for reading and writing, creating the file if missing; for reading only where it cannot
  /// be written. Changes nothing in a file that exists.
  /// @throws Error{kMissing} unreadable; {kCorrupt} no SQLite file; {kWriteFailed} cannot be
  /// created, or too few files may be open.
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
  /// exec, tried again for up to kBusyTimeoutMs while another program is in the way: for the few
  /// statements that SQLite's own waiting does not cover.
  void exec_patiently(const std::string& sql);
  /// @return the first column of the first row.
  int64_t number(const std::string& sql);

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

/// A prepared statement; bind all parameters (from 1), then step.
class Statement {
 public:
  Statement(Database& database, std::string_view sql);
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  Statement& bind(int index, int64_t value);
  Statement& bind(int index, double value);           ///< NaN would be stored as NULL: keep it out
  Statement& bind(int index, std::string_view text);  ///< copied
  Statement& bind(int index, std::span<const std::byte> bytes);  ///< copied

  /// @return whether there is a row. After the last one the statement is reset for its next use.
  bool step();
  /// Runs a statement that returns no rows.
  void run();
  /// Forgets the rows not read yet.
  void reset();

  int64_t number(int column) const;
  double real(int column) const;
  std::string text(int column) const;
  std::span<const std::byte> blob(int column) const;  ///< valid until the next step

 private:
  void check(int rc) const;

  Database& database_;
  sqlite3_stmt* handle_ = nullptr;
};

/// A write transaction: all of it, or nothing if it is destroyed before commit.
class Transaction {
 public:
  explicit Transaction(Database& database);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  void commit();

 private:
  Database& database_;
  bool open_ = true;
};

}  // namespace ram
