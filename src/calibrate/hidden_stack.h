// What enters the layers of a model, kept while rows go forward, and taken back in reverse order.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <vector>

#include "ram/engine.h"
#include "ram/file.h"

namespace ram {

class HiddenStack {
 public:
  /// Keeps everything in memory.
  HiddenStack() = default;
  /// Keeps everything in a file in `folder`, which has no name: it is gone when the stack is, also
  /// if the process is killed. @throws Error{kWriteFailed}, Error{kMissing}
  explicit HiddenStack(const std::filesystem::path& folder);

  /// Puts a copy of the rows on the stack. @throws Error{kWriteFailed}
  void push(const HiddenRows& rows);
  /// Takes the last ones that were put there. @pre there are some. @throws Error{kMissing}
  HiddenRows pop();

 private:
  struct Shape {
    int64_t rows;
    int64_t cols;
  };
  std::vector<HiddenRows> in_memory_;
  std::vector<std::vector<Shape>> in_file_;
  std::unique_ptr<OutputFile> out_;  // null: in memory
  std::unique_ptr<InputFile> in_;
  int64_t end_ = 0;  // of what is in the file
};

}  // namespace ram
