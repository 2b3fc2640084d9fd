// What the study's sources share: the connection, and who writes.
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
  int64_t run = 0;  ///< row of table `run` for what is written; 0: none yet
};

}  // namespace ram
