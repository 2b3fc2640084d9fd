// Changes a database behind the program's back.
#pragma once

#include <filesystem>

#include <gtest/gtest.h>
#include <sqlite3.h>

namespace ram::testing {

inline void run_sql(const std::filesystem::path& path, const char* sql) {
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open(path.c_str(), &db), SQLITE_OK);
  char* message = nullptr;
  EXPECT_EQ(sqlite3_exec(db, sql, nullptr, nullptr, &message), SQLITE_OK) << message;
  sqlite3_free(message);
  sqlite3_close(db);
}

}  // namespace ram::testing
