// Replays the inputs under tests/corrupt/: found by fuzzing or written by people. A file whose name
// begins with "valid-" must be accepted; every other must be refused with an Error.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

#include "ram/error.h"
#include "ram/file.h"

namespace ram::testing {

/// @param kind folder under tests/corrupt/.
/// @param read parses the input; throws Error to refuse it.
inline void replay_corrupt_inputs(const std::string& kind,
                                  const std::function<void(const std::string& input)>& read) {
  const auto folder = std::filesystem::path(RAM_SOURCE_DIR) / "tests" / "corrupt" / kind;
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  ASSERT_FALSE(files.empty()) << folder;
  for (const auto& file : files) {
    SCOPED_TRACE(file.filename().string());
    const bool valid = file.filename().string().starts_with("valid-");
    try {
      read(read_text_file(file, int64_t{1} << 20));
      EXPECT_TRUE(valid) << "was accepted";
    } catch (const Error& error) {
      EXPECT_FALSE(valid) << error.what();
      EXPECT_TRUE(error.code() == Code::kCorrupt || error.code() == Code::kUnsupported);
      EXPECT_EQ(std::string_view(error.what()).find('\n'), std::string_view::npos) << error.what();
      EXPECT_LT(std::string_view(error.what()).size(), 600U);
    }
  }
}

}  // namespace ram::testing
