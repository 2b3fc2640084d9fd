// How long work reports its progress.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace ram {

/// The progress of one phase of long work. `phase` is one or two words ("analyze", "write").
struct Progress {
  std::string_view phase;
  int64_t done = 0;
  int64_t total = 0;              ///< 0: not known
  std::string_view counted = {};  ///< what the two count: "tokens"; empty: bytes
};

/// Called often, from one thread at a time: it must be fast. May be empty.
using ProgressFn = std::function<void(const Progress&)>;

}  // namespace ram
