// A folder for targets that read files: in memory, if the machine has such a place.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <string>
#include <system_error>

#include <unistd.h>

namespace ram {

/// Made at the first call, removed at the end of the process.
inline const std::filesystem::path& scratch_folder() {
  struct Folder {
    std::filesystem::path path;
    Folder() {
      std::error_code ignored;
      const std::filesystem::path memory = "/dev/shm";
      const bool there = std::filesystem::is_directory(memory, ignored);
      std::string name =
          ((there ? memory : std::filesystem::temp_directory_path()) / "ram-fuzz-XXXXXX").string();
      if (mkdtemp(name.data()) == nullptr) std::abort();
      path = name;
    }
    ~Folder() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
  };
  static const Folder kFolder;
  return kFolder.path;
}

}  // namespace ram
