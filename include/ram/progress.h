// How long work says how far it is.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace ram {

/// How far one phase of a long work is. `phase` is one or two words ("analyze", "write").
struct Progress {
  std::string_view phase;
  int64_t done = 0;
  int64_t total = 0;              ///< 0: not known
  std::string_view counted = {};  ///< what the two count: "tokens"; empty: bytes
};

/// Called from one thread at a time, often: it must be quick. May be empty.
using ProgressFn = std::function<void(const Progress&)>;

}  // namespace ram
