// Statements, on SQLite's C interface.
#include <sqlite3.h>

#include "ram/study_table.h"

#include "sqlite.h"
#include "state.h"

namespace ram {

Study::Statement::Statement(Database& database, std::string_view sql) : database_(database) {
  check(sqlite3_prepare_v3(database.handle(), sql.data(), static_cast<int>(sql.size()),
                           SQLITE_PREPARE_PERSISTENT, &handle_, nullptr));
}

Study::Statement::Statement(Study& study, std::string_view sql)
    : Statement(study.state_->database, sql) {}

Study::Statement::Statement(Transaction& transaction, std::string_view sql)
    : Statement(transaction.study_, sql) {}

Study::Statement::~Statement() {
  sqlite3_finalize(handle_);
}

void Study::Statement::bind_next(int64_t value) {
  check(sqlite3_bind_int64(handle_, ++bound_, value));
}

void Study::Statement::bind_next(double value) {
  check(sqlite3_bind_double(handle_, ++bound_, value));
}

void Study::Statement::bind_next(std::string_view text) {
  // A null pointer would bind NULL.
  check(sqlite3_bind_text64(handle_, ++bound_, text.empty() ? "" : text.data(), text.size(),
                            SQLITE_TRANSIENT, SQLITE_UTF8));
}

void Study::Statement::bind_next(std::span<const std::byte> bytes) {
  check(sqlite3_bind_blob64(handle_, ++bound_, bytes.data(), bytes.size(), SQLITE_TRANSIENT));
}

bool Study::Statement::step() {
  bound_ = 0;
  const int rc = sqlite3_step(handle_);
  if (rc == SQLITE_ROW) return true;
  sqlite3_reset(handle_);
  if (rc != SQLITE_DONE) check(rc);
  return false;
}

void Study::Statement::run() {
  while (step()) {
  }
}

void Study::Statement::reset() {
  sqlite3_reset(handle_);
}

int64_t Study::Statement::number(int column) const {
  return sqlite3_column_int64(handle_, column);
}

double Study::Statement::real(int column) const {
  return sqlite3_column_double(handle_, column);
}

std::string Study::Statement::text(int column) const {
  const unsigned char* text = sqlite3_column_text(handle_, column);
  if (text == nullptr) return {};
  const int bytes = sqlite3_column_bytes(handle_, column);
  return {reinterpret_cast<const char*>(text), static_cast<size_t>(bytes)};
}

std::span<const std::byte> Study::Statement::blob(int column) const {
  const void* bytes = sqlite3_column_blob(handle_, column);
  const int size = sqlite3_column_bytes(handle_, column);
  return {static_cast<const std::byte*>(bytes), static_cast<size_t>(size)};
}

void Study::Statement::check(int rc) const {
  if (rc == SQLITE_OK) return;
  const char* sql = handle_ != nullptr ? sqlite3_sql(handle_) : "preparing a statement";
  database_.fail_with(rc, sql);
}

}  // namespace ram
