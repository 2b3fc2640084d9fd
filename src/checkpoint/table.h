// From a family's rows and a checkpoint's tensors to the table of units. No file is opened here.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "ram/checkpoint.h"

#include "config.h"

namespace ram {

struct UnitTable {
  std::vector<Unit> units;   ///< in the order of the model
  std::vector<int> dropped;  ///< tensors that mlx_lm does not load
  bool tied = false;         ///< the embedding is the head
  int embedding = -1;        ///< indices of units, as Checkpoint's
  int final_norm = -1;
  int head = -1;
};

/// What messages about a missing tensor need.
struct TablePlace {
  std::string folder;
  std::string fetch = {};                           ///< the command that fetches the model
  std::map<std::string, std::string> located = {};  ///< from the index: tensor -> file
};

/// @param tensors sorted by name, no name twice.
/// @throws Error{kMissing} a tensor that the config requires; {kCorrupt} shapes that contradict the
/// config; {kUnsupported} a tensor that the family does not have, not a weight dtype, quantized
/// tensors.
/// @cost O(tensors), independent of the numbers in the config.
UnitTable build_units(const ParsedConfig& config, const std::vector<SourceTensor>& tensors,
                      const TablePlace& place);

}  // namespace ram
