// Shared by the study's sources: the connection, and the program that writes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "ram/study.h"

#include "schema.h"
#include "sqlite.h"

namespace ram {

struct Study::State {
  explicit State(const std::filesystem::path& path);

  Database database;
  int64_t version;  ///< of the schema
  int64_t opened_ms;
  std::string options;
  int64_t run = 0;  ///< this program's row of table `run`; 0: none yet
};

}  // namespace ram
