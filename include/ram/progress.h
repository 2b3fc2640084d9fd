// How long work says how far it is.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace ram {

/// How far one phase of a long work is. `phase` is one or two words ("analyze", "write").
struct Progress {
  std::string_view phase;
  int64_t done_bytes = 0;
  int64_t total_bytes = 0;
  std::string_view unit = {};  ///< what the two count where it is not bytes: "tokens"
};

/// Called from one thread at a time, often: it must be quick. May be empty.
using ProgressFn = std::function<void(const Progress&)>;

}  // namespace ram
