// The required form of a refusal, for any input.
#pragma once

#include <cstdlib>
#include <string_view>

#include "ram/error.h"

namespace ram {

/// Aborts, which the fuzzer reports, unless it is one line of bounded length.
inline void expect_one_line(std::string_view message) {
  constexpr size_t kLongest = 1000;
  for (const char c : message) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) std::abort();
  }
  if (message.empty() || message.size() > kLongest) std::abort();
}

/// Also aborts unless the error blames the input: a defect of ours is a finding.
inline void expect_clear(const Error& error) {
  if (error.code() != Code::kCorrupt && error.code() != Code::kUnsupported &&
      error.code() != Code::kMissing) {
    std::abort();
  }
  expect_one_line(error.what());
}

}  // namespace ram
