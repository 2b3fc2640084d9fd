// What a refusal must look like, whatever the input was.
#pragma once

#include <cstdlib>
#include <string_view>

#include "ram/error.h"

namespace ram {

/// Aborts, which the fuzzer reports, unless the error blames the input in one line of bounded
/// length.
inline void expect_clear(const Error& error) {
  const std::string_view message = error.what();
  const bool blames_input = error.code() == Code::kCorrupt || error.code() == Code::kUnsupported ||
                            error.code() == Code::kMissing;
  if (!blames_input || message.find('\n') != std::string_view::npos || message.size() > 1000) {
    std::abort();
  }
}

}  // namespace ram
