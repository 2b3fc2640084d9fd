// Which experts each token goes to, on the CPU: tokens are gathered in the order of their experts.
#pragma once

#include <cstdint>
#include <vector>

#include "backend.h"

namespace ram {

struct CpuRouting : Storage {
  struct Segment {
    int64_t begin = 0;  ///< first row in gathered arrays
    int64_t count = 0;
  };
  std::vector<Segment> segments;  ///< per expert
  int64_t gathered_rows = 0;   ///< of gathered arrays: segments may have unused rows between them
  std::vector<int32_t> token;  ///< per gathered row; -1 for an unused one
  std::vector<float> weight;   ///< per gathered row
  int64_t experts_per_token = 0;
  /// The inverse order: for each token its gathered rows, increasing, and so its experts in order.
  std::vector<int32_t> places;
};

/// @pre `routing` is the CPU's.
inline const CpuRouting& cpu_routing(const Routing& routing) {
  return static_cast<const CpuRouting&>(*routing.storage);
}

}  // namespace ram
