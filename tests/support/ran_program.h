// A program's run within a test: what it printed, and its exit status.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "ram/command_line.h"

namespace ram::cli {

/// @return everything written to a memory stream, which is then closed.
inline std::string read_all(std::FILE* file) {
  std::string text;
  std::rewind(file);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

struct Ran {
  int status = 0;
  std::string out;
  std::string err;
};

/// @param arguments without the program's name.
inline Ran run_program(const Program& program, std::vector<const char*> arguments) {
  arguments.insert(arguments.begin(), "ram");
  const Io io = {.out = std::tmpfile(), .err = std::tmpfile()};
  Ran ran;
  ran.status = run(program, static_cast<int>(arguments.size()), arguments.data(), io);
  ran.out = read_all(io.out);
  ran.err = read_all(io.err);
  return ran;
}

}  // namespace ram::cli
