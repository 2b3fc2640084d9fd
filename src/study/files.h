// Table `file`: files as they were.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "ram/file.h"
#include "ram/study_table.h"

namespace ram {

/// One spelling per file, so that the folder a program is started from does not matter.
std::string path_key(const std::filesystem::path& path);

/// Binds size, both times, inode and device.
Study::Statement& bind_identity(Study::Statement& statement, const FileIdentity& identity);

/// The row of a file of exactly this identity, made if it is new.
int64_t file_row(Study::Transaction& transaction, const std::string& path,
                 const FileIdentity& identity);

}  // namespace ram
