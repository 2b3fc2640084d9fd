// How a module reads and writes its tables in a study: statements, transactions, numbers in blobs.
// The tables' columns are in docs/formats/study.md. Part of the module `study`.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "ram/study.h"

struct sqlite3_stmt;

namespace ram {

class Database;

/// A prepared statement of SQL: bind its parameters, then step through the rows. Each call may
/// throw Error{kCorrupt}: the study is damaged; {kMissing}: it cannot be read; and what Transaction
/// throws.
class Study::Statement {
 public:
  Statement(Study& study, std::string_view sql);              ///< reads
  Statement(Transaction& transaction, std::string_view sql);  ///< writes
  ~Statement();
  Statement(const Statement&) = delete;
  Statement& operator=(const Statement&) = delete;

  /// Binds the parameters that follow those bound since the last step: numbers (int64_t, double),
  /// texts, bytes. They are copied. @pre no NaN: SQLite would store NULL.
  template <typename... Values>
  Statement& bind(const Values&... values) {
    (bind_next(values), ...);
    return *this;
  }
  /// @return whether there is another row. After the last one the statement can be bound again.
  bool step();
  void run();    ///< steps to the end
  void reset();  ///< skips the rows not read yet

  int64_t number(int column) const;  ///< of the row, columns from 0
  double real(int column) const;
  std::string text(int column) const;
  std::span<const std::byte> blob(int column) const;  ///< valid until the next step

 private:
  friend class Database;
  Statement(Database& database, std::string_view sql);
  void bind_next(int64_t value);
  void bind_next(double value);
  void bind_next(std::string_view text);
  void bind_next(std::span<const std::byte> bytes);
  void check(int rc) const;

  Database& database_;
  sqlite3_stmt* handle_ = nullptr;
  int bound_ = 0;
};

/// Everything written until commit is kept; without commit, nothing.
/// @throws Error{kWriteFailed} the study cannot be written, the disk is full, or another program
///         has locked the study for 60 s.
class Study::Transaction {
 public:
  explicit Transaction(Study& study);
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  /// @return this program's row in table `run`, for the column `run` of other tables.
  int64_t run();
  void commit();

 private:
  friend class Statement;
  Study& study_;
  int64_t run_ = 0;  ///< 0: not requested yet
};

/// @return numbers of 4 or 8 bytes (int32_t, float, double) as stored in a BLOB: little-endian, one
/// after another.
template <typename Number>
std::vector<std::byte> pack_blob(std::span<const Number> values) {
  using Bits = std::conditional_t<sizeof(Number) == 4, uint32_t, uint64_t>;
  std::vector<std::byte> blob;
  blob.reserve(values.size() * sizeof(Number));
  for (const Number value : values) {
    const auto bits = std::bit_cast<Bits>(value);
    for (size_t i = 0; i < sizeof(Number); ++i) {
      blob.push_back(static_cast<std::byte>(bits >> (8 * i)));
    }
  }
  return blob;
}

/// @return the numbers of a blob; leftover bytes at its end are ignored.
template <typename Number>
std::vector<Number> unpack_blob(std::span<const std::byte> blob) {
  using Bits = std::conditional_t<sizeof(Number) == 4, uint32_t, uint64_t>;
  std::vector<Number> values(blob.size() / sizeof(Number));
  for (size_t v = 0; v < values.size(); ++v) {
    Bits bits = 0;
    for (size_t i = 0; i < sizeof(Number); ++i) {
      bits |= static_cast<Bits>(blob[v * sizeof(Number) + i]) << (8 * i);
    }
    values[v] = std::bit_cast<Number>(bits);
  }
  return values;
}

}  // namespace ram
