// What the tests of the command line share.
#pragma once

#include <cstdio>
#include <string>

namespace ram::cli {

/// @return all that was written to a memory stream, which is closed.
inline std::string read_all(std::FILE* file) {
  std::string text;
  std::rewind(file);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

}  // namespace ram::cli
